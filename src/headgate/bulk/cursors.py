"""Server-side cursors: the fastest way that each driver has to fetch many rows a few at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Protocol

import sqlalchemy as sa

from headgate.bulk.errors import BulkError
from headgate.bulk.failures import TryAgain
from headgate.bulk.query import as_query

Row = tuple[Any, ...]


class Cursor(Protocol):
    """An open result on the server."""

    columns: tuple[str, ...]

    def fetch(self, size: int) -> list[Row]: ...

    def close(self) -> None: ...


def open_cursor(engine: sa.Engine, query: Any, parameters: Mapping[str, Any], size: int) -> Cursor:
    """Execute a query whose rows stay with the server until they are fetched.

    Args:
        size: rows that the driver may hold.
    """
    if engine.dialect.name == "postgresql":
        return PostgresStream(engine, query, parameters, size)
    return Streamed(engine, query, parameters, size)


class PostgresStream:
    """psycopg's `stream` in libpq's chunked mode: no cursor on the server, rows in order, nothing buffered."""

    def __init__(self, engine: sa.Engine, query: Any, parameters: Mapping[str, Any], size: int) -> None:
        from headgate.bulk.postgres.connect import connect, twin_of

        compiled = as_query(query, parameters, twin_of(engine))
        try:
            self._connection = connect(engine)
        except TryAgain as problem:
            raise BulkError(problem.reason) from problem
        cursor = self._connection.cursor()
        self._rows: Iterator[Row] = iter(())
        self.columns: tuple[str, ...] = ()
        try:
            stream = cursor.stream(compiled.sql, compiled.parameters or None, size=size)
            first = next(stream, None)
        except BaseException:
            self._connection.close()
            raise
        self.columns = tuple(column.name for column in cursor.description or ())
        self._first = [] if first is None else [first]
        self._stream = stream

    def fetch(self, size: int) -> list[Row]:
        first, self._first = self._first, []
        return [*first, *islice(self._stream, size - len(first))]

    def close(self) -> None:
        # The rest of the result is not read: the connection is ended, which ends the query
        self._connection.close()


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
