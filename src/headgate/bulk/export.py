"""A query's rows as CSV, JSON lines or Arrow, for a client that may be slow.

The result goes to a file on disk at the database's speed, and from there to the client at the client's: no
transaction and no memory waits for anybody.
"""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import IO, Any, Final, Literal

import msgspec

from headgate.base.errors import Full
from headgate.bulk import target as targets
from headgate.bulk.errors import WrongTarget
from headgate.bulk.reader import Reader, read

Form = Literal["csv", "jsonl", "arrow"]
MIME: Final[Mapping[str, str]] = {
    "csv": "text/csv",
    "jsonl": "application/jsonl",
    "arrow": "application/vnd.apache.arrow.stream",
}
_BLOCK: Final = 256 << 10
Rows = list[tuple[Any, ...]]


class Export:
    """A finished export in a file that has no name and goes when it is closed, or read to its end.

    Args:
        file: the file, at its end.
        form: its format.
    """

    def __init__(self, file: IO[bytes], form: Form) -> None:
        self._file = file
        self.size = file.tell()
        self.mimetype = MIME[form]
        self.form = form

    def __iter__(self) -> Iterator[bytes]:
        try:
            self._file.seek(0)
            while block := self._file.read(_BLOCK):
                yield block
        finally:
            self.close()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file with a name."""
        with open(path, "wb") as file:
            for block in self:
                file.write(block)

    def response(self, filename: str | None = None) -> Any:
        """A Flask response that streams it.

        Args:
            filename: the name under which a browser saves it.
        """
        from flask import Response

        response = Response(iter(self), mimetype=self.mimetype)
        response.content_length = self.size
        if filename is not None:
            response.headers.set("Content-Disposition", "attachment", filename=filename)
        response.call_on_close(self.close)
        return response

    def close(self) -> None:
        self._file.close()


class _Bounded(io.RawIOBase):
    """A file that refuses to grow beyond a limit."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self._limit = limit
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._written += len(data)
        if self._written > self._limit:
            raise Full(
                f"the export is larger than max_bytes={self._limit:,}; narrow the query or raise the limit", 60.0
            )
        return self._file.write(data)


def export(
    query: Any,
    *,
    on: Any,
    form: Form = "csv",
    params: Mapping[str, Any] | None = None,
    max_bytes: int = 4 << 30,
    folder: str | None = None,
) -> Export:
    """Run a query and keep its rows in a file, to be streamed to a client: `return bulk.export(...).response()`.

    Args:
        query, on, params: as for `read`.
        form: "csv" (with a header; NULL is empty), "jsonl", or "arrow" (the IPC stream format; needs pyarrow).
        max_bytes: the greatest size.
        folder: where the file is; default: the system's temporary folder.

    Raises:
        Full: it is larger than `max_bytes`.
        WrongTarget: no such form.
    """
    if form not in MIME:
        raise WrongTarget(f"form={form!r} is none of {', '.join(MIME)}")
    engine = targets.engine_of(on)
    file = tempfile.TemporaryFile(dir=folder, prefix="headgate-export-")  # noqa: SIM115 - the export closes it
    out = _Bounded(file, max_bytes)
    try:
        if engine.dialect.name == "postgresql":
            from headgate.bulk.postgres import exporting

            exporting.WRITERS[form](engine, query, params or {}, out)
        else:
            _write(engine, query, params or {}, form, out)
    except BaseException:
        file.close()
        raise
    return Export(file, form)


def _write(engine: Any, query: Any, params: Mapping[str, Any], form: Form, out: _Bounded) -> None:
    reader = read(query, on=engine, params=params)
    # closed at once when the writing fails, and not when the traceback lets go of it
    with closing(reader.chunks()) as chunks:
        _WRITERS[form](reader, chunks, out)


def _write_csv(reader: Reader, chunks: Iterator[Rows], out: _Bounded) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    for number, chunk in enumerate(_at_least_one(chunks)):
        if number == 0:
            writer.writerow(reader.columns)
        writer.writerows(chunk)
        out.write(text.getvalue().encode())
        text.seek(0)
        text.truncate()


def _write_lines(reader: Reader, chunks: Iterator[Rows], out: _Bounded) -> None:
    encode = msgspec.json.Encoder(enc_hook=str).encode_lines
    for chunk in chunks:
        out.write(encode([dict(zip(reader.columns, row, strict=True)) for row in chunk]))


def _write_arrow(reader: Reader, chunks: Iterator[Rows], out: _Bounded) -> None:
    """The first chunk says what the columns hold."""
    import pyarrow
    from pyarrow import ipc

    chunks = _at_least_one(chunks)
    first = pyarrow.table(_columns(reader, next(chunks)))
    with ipc.new_stream(out, first.schema) as writer:
        writer.write_table(first)
        for chunk in chunks:
            writer.write_table(pyarrow.table(_columns(reader, chunk), schema=first.schema))


def _columns(reader: Reader, chunk: Rows) -> dict[str, list[Any]]:
    values = zip(*chunk, strict=True) if chunk else [[] for _ in reader.columns]
    return {name: list(column) for name, column in zip(reader.columns, values, strict=True)}


def _at_least_one(chunks: Iterator[Rows]) -> Iterator[Rows]:
    """An empty result has a header too."""
    yield next(chunks, [])
    yield from chunks


_WRITERS: Final = {"csv": _write_csv, "jsonl": _write_lines, "arrow": _write_arrow}
