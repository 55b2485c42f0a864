"""Reading many rows in bounded memory: in one pass over a cursor, or in pages by key."""

from __future__ import annotations

import gc
import itertools
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final

import sqlalchemy as sa

from headgate.bulk import target as targets
from headgate.bulk.cursors import Cursor, PostgresStream, Row, Source, open_source
from headgate.bulk.errors import WrongTarget
from headgate.bulk.rows import Pick, raise_short

CHUNK_BYTES: Final = 1 << 20
_SAMPLE: Final = 50


class Reader:
    """Rows of a query as tuples: `for row in reader`, `reader.chunks()`, or as the rows of a bulk write.

    Without a key it is one pass over a server-side cursor: one snapshot, and one transaction open while it
    is read. With a key it is pages of short transactions that any reader can resume: no snapshot, and nothing is
    held while the consumer thinks.

    Args:
        engine: the database.
        query, parameters: see `read`.
        size: most rows of a chunk.
        key: columns that order the rows and tell them apart.
        after: the key of the row after which to begin.
        chunk_bytes: the greatest size of a chunk, about.
    """

    def __init__(
        self,
        engine: sa.Engine,
        query: Any,
        parameters: Mapping[str, Any] | None,
        size: int,
        key: tuple[str, ...],
        after: Sequence[Any] | None,
        chunk_bytes: int,
    ) -> None:
        if after is not None and len(after) != len(key):
            raise WrongTarget(f"after= gives {len(after)} values for a key of {len(key)} columns")
        self._engine = engine
        self._query = query
        self._parameters = dict(parameters or {})
        self._size = size
        self._key = key
        self._after = tuple(after) if after is not None else None
        self._chunk_bytes = chunk_bytes
        self.columns: tuple[str, ...] = ()
        """The names of the columns, once the first chunk is there."""

    def chunks(self) -> Generator[list[Row], None, None]:
        """Lists of rows; the next is fetched when it is asked for."""
        return self._pages(">") if self._key else self._pass()

    def __iter__(self) -> Iterator[Row]:
        return itertools.chain.from_iterable(self._pages(">")) if self._key else self._each()

    def dicts(self) -> Iterator[dict[str, Any]]:
        """Rows as dicts."""
        for chunk in self.chunks():
            for row in chunk:
                yield dict(zip(self.columns, row, strict=True))

    def bulk_source(self) -> ReaderSource:
        """What a bulk write reads from when it is given this reader."""
        return ReaderSource(self)

    def _pass(self) -> Generator[list[Row], None, None]:
        with (
            closing(open_source(self._engine)) as source,
            closing(source.open(self._query, self._parameters, self._size)) as cursor,
        ):
            self.columns = cursor.columns
            yield from self._lists(cursor)

    def _lists(self, cursor: Cursor) -> Iterator[list[Row]]:
        size = min(self._size, 100)
        while chunk := _fetch(cursor, size):
            size = self._fitting(chunk)
            yield chunk

    def _each(self) -> Generator[Row, None, None]:
        with (
            closing(open_source(self._engine)) as source,
            closing(source.open(self._query, self._parameters, self._size)) as cursor,
        ):
            self.columns = cursor.columns
            if isinstance(cursor, PostgresStream):
                yield from cursor.each()
            else:
                yield from itertools.chain.from_iterable(self._lists(cursor))

    def _pages(self, comparison: str) -> Generator[list[Row], None, None]:
        size, after = min(self._size, 100), self._after
        with closing(open_source(self._engine)) as source:
            while True:
                with closing(self._page(source, after, comparison, size)) as cursor:
                    chunk = _fetch(cursor, size)
                    self.columns = cursor.columns
                if chunk:
                    yield chunk
                if len(chunk) < size:
                    return
                after, comparison = self.key_of(chunk[-1]), ">"
                size = self._fitting(chunk)

    def _page(self, source: Source, after: Row | None, comparison: str, size: int) -> Cursor:
        """One page: the query within, its rows after the key, in the key's order."""
        if isinstance(self._query, str):
            inner = sa.text(self._query.strip().rstrip(";")).columns(*(sa.column(name) for name in self._key))
            whole = inner.subquery("headgate_page")
            page: sa.Select[Any] = sa.select(sa.literal_column("*")).select_from(whole)
        else:
            whole = self._query.subquery("headgate_page")
            page = sa.select(whole)
        names = [whole.c[name] for name in self._key]
        page = page.order_by(*names).limit(size)
        if after is not None:
            left, right = sa.tuple_(*names), sa.tuple_(*(sa.bindparam(None, value) for value in after))
            page = page.where(left > right if comparison == ">" else left >= right)
        return source.open(page, self._parameters, size)

    def key_of(self, row: Row) -> Row:
        """The key of a row, to resume after: `read(..., after=reader.key_of(row))`.

        Raises:
            WrongTarget: the query does not give the key's columns.
        """
        try:
            return tuple(row[self.columns.index(name)] for name in self._key)
        except ValueError:
            raise WrongTarget(
                f"the query gives {', '.join(self.columns)}, not its key {', '.join(self._key)}"
            ) from None

    def _fitting(self, chunk: list[Row]) -> int:
        """Rows of the next chunk, by the size of the rows of this one."""
        sample = chunk[:: max(1, len(chunk) // _SAMPLE)]
        each = sum(sys.getsizeof(row) + sum(map(sys.getsizeof, row)) for row in sample) / len(sample)
        return max(1, min(self._size, int(self._chunk_bytes / each)))


class ReaderSource:
    """A reader as the source of a bulk write; with a key it resumes at the key, else it is read again and skipped."""

    textual = False
    total: int | None = None

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._stream = iter(reader)
        first = next(self._stream, None)
        self.names = reader.columns
        self._last: Row | None = None
        if first is not None:
            self._stream = itertools.chain([first], self._stream)

    def rows(self) -> Iterator[Any]:
        if not self._reader._key:
            return self._stream
        return self._noted()

    def _noted(self) -> Iterator[Row]:
        for row in self._stream:
            self._last = row
            yield row

    def skip(self, count: int, place: Any) -> None:
        if place is not None:
            self._reader._after = tuple(place)
            self._stream = itertools.chain.from_iterable(self._reader._pages(">="))
            return
        skipped = sum(1 for _ in itertools.islice(self._stream, count))
        if skipped < count:
            raise_short(count, skipped)

    def place(self) -> Any:
        return list(self._reader.key_of(self._last)) if self._last is not None else None

    def picker(self, names: Sequence[str], exact: bool) -> Pick:
        order = [self.names.index(name) for name in names]
        return lambda row: [row[index] for index in order]

    def close(self) -> None:
        close = getattr(self._stream, "close", None)
        if close is not None:
            close()


def read(
    query: Any,
    *,
    on: Any,
    params: Mapping[str, Any] | None = None,
    size: int = 1_000,
    key: str | Sequence[str] | None = None,
    after: Any = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Reader:
    """Read the rows of a query in bounded memory.

    Args:
        query: SQL with `:name` parameters, or a SQLAlchemy select (of columns).
        on: the database, as for `insert`.
        params: the query's parameters.
        size: most rows fetched at a time; fewer when they are large.
        key: column or columns (unique together, never NULL) to read by pages of short transactions instead of in
            one pass; any row's key can be resumed after.
        after: the key to begin after.
        chunk_bytes: the greatest size of a chunk in bytes, about.
    """
    names = (key,) if isinstance(key, str) else tuple(key or ())
    begin = (after,) if after is not None and isinstance(key, str) else after
    return Reader(targets.engine_of(on), query, params, size, names, begin, chunk_bytes)


def _fetch(cursor: Cursor, size: int) -> list[Row]:
    with _collector_paused():
        return cursor.fetch(size)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """No cycle collection while rows are made: they are many, hold no cycles, and each pass would visit them all."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
