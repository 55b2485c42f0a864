"""Server-side cursors: the fastest way that each driver has to fetch many rows a few at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Protocol

import sqlalchemy as sa

from headgate.bulk.errors import BulkError
from headgate.bulk.failures import TryAgain
from headgate.bulk.query import Query, as_query

Row = tuple[Any, ...]


class Cursor(Protocol):
    """An open result on the server."""

    columns: tuple[str, ...]

    def fetch(self, size: int) -> list[Row]:
        """The next rows; fewer than so many only at the end."""

    def close(self) -> None:
        """End it; what was not read is not fetched."""


class Source(Protocol):
    """Where cursors are opened, one after the other; a page of a keyed read is a cursor."""

    def open(self, query: Any, parameters: Mapping[str, Any], size: int) -> Cursor:
        """Execute a query whose rows stay with the server until they are fetched; the driver may hold `size`."""

    def close(self) -> None: ...


def open_source(engine: sa.Engine) -> Source:
    """The way that an engine's driver is read best."""
    return PostgresSource(engine) if engine.dialect.name == "postgresql" else AnySource(engine)


class PostgresSource:
    """One connection of the reader's own, in autocommit mode: between two cursors it holds nothing."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._connection: Any = None

    def open(self, query: Any, parameters: Mapping[str, Any], size: int) -> PostgresStream:
        from headgate.bulk.postgres.connect import connect, twin_of

        compiled = as_query(query, parameters, twin_of(self._engine))
        if self._connection is None or self._connection.closed:
            try:
                self._connection = connect(self._engine)
            except TryAgain as problem:
                raise BulkError(problem.reason) from problem
        try:
            return PostgresStream(self._connection, compiled, size)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class PostgresStream:
    """psycopg's `stream` in libpq's chunked mode: no cursor on the server, rows in order, nothing buffered."""

    def __init__(self, connection: Any, query: Query, size: int) -> None:
        self._connection = connection
        cursor = connection.cursor()
        self._stream: Iterator[Row] = cursor.stream(query.sql, query.parameters or None, size=size)
        self._first = list(islice(self._stream, 1))
        self._ended = not self._first
        self.columns: tuple[str, ...] = tuple(column.name for column in cursor.description or ())

    def fetch(self, size: int) -> list[Row]:
        first, self._first = self._first, []
        rows = [*first, *islice(self._stream, size - len(first))]
        self._ended = len(rows) < size
        return rows

    def each(self) -> Iterator[Row]:
        """The rows one by one: faster than lists of them, whose rows are all alive at once."""
        first, self._first = self._first, []
        yield from first
        yield from self._stream
        self._ended = True

    def close(self) -> None:
        if self._ended or next(self._stream, None) is None:
            return
        # The rest of the result is not read: the connection is ended, which ends the query
        self._connection.close()


class AnySource:
    """Connections of the engine's pool."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def open(self, query: Any, parameters: Mapping[str, Any], size: int) -> Streamed:
        return Streamed(self._engine, query, parameters, size)

    def close(self) -> None:
        """The connections are the pool's."""


class Streamed:
    """SQLAlchemy's `stream_results`: an unbuffered cursor where the driver has one (PyMySQL's SSCursor, SQLite)."""

    def __init__(self, engine: sa.Engine, query: Any, parameters: Mapping[str, Any], size: int) -> None:
        statement = sa.text(query.strip().rstrip(";")) if isinstance(query, str) else query
        self._connection = engine.connect()
        try:
            options = self._connection.execution_options(stream_results=True, max_row_buffer=size)
            self._result = options.execute(statement, dict(parameters))
        except BaseException:
            self._connection.close()
            raise
        self.columns = tuple(self._result.keys())

        self._ended = False

    def fetch(self, size: int) -> list[Row]:
        rows = [tuple(row) for row in self._result.fetchmany(size)]
        self._ended = len(rows) < size
        return rows

    def close(self) -> None:
        if self._ended:
            self._result.close()
        else:
            # The rest of the result is not read: the connection is ended, which ends the query
            _forget_rest(self._connection.connection.driver_connection)
            self._connection.invalidate()
        self._connection.close()


def _forget_rest(connection: Any) -> None:
    """PyMySQL would read an unbuffered result to its end before it lets go of it."""
    result = getattr(connection, "_result", None)
    if result is not None and getattr(result, "unbuffered_active", False):
        result.unbuffered_active = False
