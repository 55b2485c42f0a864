"""CSV and JSON-lines files as sources: they seek, so a resumed write starts at once where it stood."""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Iterator, Sequence
from typing import IO, Any, cast

import msgspec

from headgate.bulk.errors import WrongTarget
from headgate.bulk.failures import BadValue
from headgate.bulk.rows import Pick, picker_for, raise_short


class CsvFile:
    """A CSV file with a header (RFC 4180); an empty field is NULL.

    Args:
        path: the file, `.csv` or `.csv.gz` (which is read from its start to be resumed).
        null: the text that stands for NULL.
        delimiter: the separator of fields.
        encoding: of the text.
    """

    textual = True
    total: int | None = None

    def __init__(self, path: str, *, null: str = "", delimiter: str = ",", encoding: str = "utf-8-sig") -> None:
        self._file = _open(path)
        self._null = null
        self._encoding = encoding
        self._delimiter = delimiter
        self._read = 0
        self._place = 0
        header = next(self._records(), None)
        if not header:
            self._file.close()
            raise WrongTarget(f"{path} is empty; a CSV file begins with a line of column names")
        self.names: tuple[str, ...] = tuple(header)
        self._encoding = "utf-8" if encoding == "utf-8-sig" else encoding

    def _lines(self) -> Iterator[str]:
        for raw in self._file:
            self._read += len(raw)
            yield raw.decode(self._encoding)

    def _records(self) -> Iterator[list[str]]:
        # csv asks for no line before it needs it, so what was read is exactly what the records so far are made of
        return csv.reader(self._lines(), delimiter=self._delimiter, strict=True)

    def rows(self) -> Iterator[Any]:
        records = self._records()
        while True:
            self._place = self._read
            try:
                record = next(records)
            except StopIteration:
                return
            except csv.Error as error:
                yield _Broken(str(error))
                continue
            if record:
                yield record

    def skip(self, count: int, place: Any) -> None:
        if place is None:
            _skip_rows(self.rows(), count)
            return
        self._file.seek(place)
        self._read = place

    def place(self) -> Any:
        return self._place

    def picker(self, names: Sequence[str], exact: bool) -> Pick:
        order = [self.names.index(name) for name in names]
        width, null = len(self.names), self._null

        def pick(row: Any) -> Sequence[Any]:
            if len(row) != width:
                raise BadValue(_why(row) or f"the line has {len(row)} fields for {width} columns")
            return [None if (value := row[index]) == null else value for index in order]

        return pick

    def close(self) -> None:
        self._file.close()


class JsonLines:
    """A file with one JSON object in each line."""

    textual = False
    total: int | None = None

    def __init__(self, path: str) -> None:
        self._file = _open(path)
        self._place = 0
        self._read = 0
        first = next(self.rows(), None)
        self._file.seek(0)
        self._read = 0
        if isinstance(first, _Broken) or (first is not None and not isinstance(first, dict)):
            self._file.close()
            raise WrongTarget(f"the first line of {path} is no JSON object; each line must be one")
        self._first = first
        self.names: tuple[str, ...] = tuple(first or ())

    def rows(self) -> Iterator[Any]:
        decode = msgspec.json.Decoder().decode
        for raw in self._file:
            self._place = self._read
            self._read += len(raw)
            if not raw.strip():
                continue
            try:
                yield decode(raw)
            except msgspec.DecodeError as error:
                yield _Broken(str(error))

    def skip(self, count: int, place: Any) -> None:
        if place is None:
            _skip_rows(self.rows(), count)
            return
        self._file.seek(place)
        self._read = place

    def place(self) -> Any:
        return self._place

    def picker(self, names: Sequence[str], exact: bool) -> Pick:
        pick = picker_for(self._first, names, exact)

        def checked(row: Any) -> Sequence[Any]:
            if isinstance(row, _Broken):
                raise BadValue(row.reason)
            return pick(row)

        return checked

    def close(self) -> None:
        self._file.close()


class _Broken(list[str]):
    """A line that cannot be read: a row that every picker refuses, with the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


def _why(row: Any) -> str | None:
    return row.reason if isinstance(row, _Broken) else None


def _skip_rows(rows: Iterator[Any], count: int) -> None:
    for done in range(count):
        if next(rows, None) is None:
            raise_short(count, done)


def _open(path: str) -> IO[bytes]:
    try:
        if path.endswith(".gz"):
            return cast(IO[bytes], gzip.open(path, "rb"))
        return open(path, "rb")
    except OSError as error:
        raise WrongTarget(f"{path} cannot be read: {error.strerror or error}") from None


def open_file(path: str) -> CsvFile | JsonLines:
    """A file by its name: `.csv`, `.tsv`, `.jsonl` or `.ndjson`, each also with `.gz`.

    Raises:
        WrongTarget: another kind of file, or it cannot be read.
    """
    stem = path.removesuffix(".gz")
    ending = os.path.splitext(stem)[1].lower()
    if ending == ".csv":
        return CsvFile(path)
    if ending == ".tsv":
        return CsvFile(path, delimiter="\t")
    if ending in (".jsonl", ".ndjson"):
        return JsonLines(path)
    raise WrongTarget(f"{path} is none of .csv, .tsv, .jsonl, .ndjson; open it yourself and give its rows")
