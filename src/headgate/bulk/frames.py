"""Arrow tables and readers, pandas and polars frames as sources, without importing any of them here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from headgate.bulk.rows import Pick, raise_short


class Frame:
    """Rows out of columns, a slice at a time, so that memory holds one slice of Python objects.

    Args:
        names: the columns.
        batches: yields lists of rows (tuples), in order.
        total: how many rows there are, if known.
    """

    textual = False

    def __init__(self, names: Sequence[str], batches: Iterator[list[tuple[Any, ...]]], total: int | None) -> None:
        self.names = tuple(names)
        self.total = total
        self._batches = batches
        self._stream = self._flow()

    def _flow(self) -> Iterator[tuple[Any, ...]]:
        for batch in self._batches:
            yield from batch

    def rows(self) -> Iterator[Any]:
        return self._stream

    def skip(self, count: int, place: Any) -> None:
        for done in range(count):
            if next(self._stream, None) is None:
                raise_short(count, done)

    def place(self) -> Any:
        return None

    def picker(self, names: Sequence[str], exact: bool) -> Pick:
        order = [self.names.index(name) for name in names]
        if order == list(range(len(self.names))):
            return lambda row: row
        return lambda row: [row[index] for index in order]

    def close(self) -> None:
        self._stream.close()  # type: ignore[attr-defined]  # a generator


_SLICE = 5_000


def open_frame(rows: Any) -> Frame | None:
    """A `Frame` over an Arrow table or batch reader, a pandas or polars frame; None for anything else."""
    home = type(rows).__module__.partition(".")[0]
    if home == "pyarrow":
        return _arrow(rows)
    if home == "polars":
        return _polars(rows)
    if home == "pandas":
        return _pandas(rows)
    return None


def _columns(batch: Any) -> list[tuple[Any, ...]]:
    """An Arrow batch as rows."""
    return list(zip(*[column.to_pylist() for column in batch.columns], strict=True))


def _arrow(rows: Any) -> Frame | None:
    if hasattr(rows, "to_batches"):
        batches = rows.to_batches(max_chunksize=_SLICE)
        return Frame(rows.schema.names, (_columns(batch) for batch in batches), rows.num_rows)
    if hasattr(rows, "read_next_batch"):
        return Frame(rows.schema.names, _read(rows), None)
    if hasattr(rows, "num_rows"):
        return Frame(rows.schema.names, _read([rows]), rows.num_rows)
    return None


def _read(reader: Iterable[Any]) -> Iterator[list[tuple[Any, ...]]]:
    for batch in reader:
        for start in range(0, batch.num_rows, _SLICE):
            yield _columns(batch.slice(start, _SLICE))


def _polars(rows: Any) -> Frame | None:
    if not hasattr(rows, "iter_slices"):
        return None
    return Frame(rows.columns, (part.rows() for part in rows.iter_slices(_SLICE)), rows.height)


def _pandas(rows: Any) -> Frame | None:
    if not hasattr(rows, "iloc") or not hasattr(rows, "columns"):
        return None
    names = [str(name) for name in rows.columns]

    def slices() -> Iterator[list[tuple[Any, ...]]]:
        for start in range(0, len(rows), _SLICE):
            part = rows.iloc[start : start + _SLICE]
            # pandas writes a missing value as NaN, NaT or NA; object columns can carry None instead.
            plain = part.astype(object).where(part.notna(), None)
            yield list(plain.itertuples(index=False, name=None))

    return Frame(names, slices(), len(rows))
