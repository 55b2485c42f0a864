"""A bulk write on SQLite: one connection, BEGIN IMMEDIATE, executemany."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from headgate.base.errors import LeaseLost
from headgate.bulk import values as shared
from headgate.bulk.errors import WrongTarget
from headgate.bulk.failures import Refused, TryAgain
from headgate.bulk.model import Advance, Column, Merged, Plan, Politeness, Position, Table
from headgate.bulk.order import ordered
from headgate.bulk.sqlite import sql
from headgate.bulk.sqlite.values import encoders, kind_of

KEEP_SECONDS: Final = 7 * 86_400
_COLUMN: Final = re.compile(r"constraint failed: (?:\S+\.)?(\w+)")
Row = tuple[Any, ...]
T = TypeVar("T")


class SQLite:
    """See `headgate.bulk.engine.Database`.

    The engine's own connection is used (a database in memory has no other) and given back as it was.
    """

    overlaps = False

    def __init__(self, engine: sa.Engine) -> None:
        self._fairy = engine.raw_connection()
        connection = self._fairy.driver_connection
        assert isinstance(connection, sqlite3.Connection)
        self._connection = connection
        connection.rollback()
        self._isolation = connection.isolation_level
        connection.isolation_level = None
        self._synchronous = int(self._pragma("synchronous"))
        self._wal = self._pragma("journal_mode") == "wal"
        self._busy = int(self._pragma("busy_timeout"))
        self._plan: Plan
        self._lines: list[Row] = []

    def _pragma(self, name: str) -> Any:
        return self._connection.execute(f"PRAGMA {name}").fetchone()[0]

    def describe(self, schema: str | None, name: str) -> Table:
        prefix = f"{sql.quoted(schema)}." if schema else ""
        found = self._connection.execute(f"PRAGMA {prefix}table_xinfo({sql.quoted(name)})").fetchall()
        if not found:
            raise WrongTarget(f"there is no table {name} in this database; check its name and the database's file")
        columns = [_column(row) for row in found if row[6] != 1]
        primary = tuple(row[1] for row in sorted((row for row in found if row[5]), key=lambda row: row[5]))
        alone = len(primary) == 1
        by_name = {column.name: column for column in columns}
        if alone and by_name[primary[0]].type.upper() == "INTEGER":
            # INTEGER PRIMARY KEY is the rowid and numbers itself
            by_name[primary[0]] = _column(next(row for row in found if row[1] == primary[0]), numbers_itself=True)
        return Table(schema, name, by_name, primary, self._unique(prefix, name))

    def _unique(self, prefix: str, name: str) -> tuple[tuple[str, ...], ...]:
        keys = []
        for _, index, unique, origin, partial in self._connection.execute(
            f"PRAGMA {prefix}index_list({sql.quoted(name)})"
        ).fetchall():
            if unique and not partial and origin != "pk":
                names = self._connection.execute(f"PRAGMA {prefix}index_info({sql.quoted(index)})").fetchall()
                if all(row[2] is not None for row in names):
                    keys.append(tuple(row[2] for row in names))
        return tuple(keys)

    def prepare(self, plan: Plan, politeness: Politeness) -> None:
        self._plan = plan
        self._statement = sql.statement(plan)
        self._connection.execute(f"PRAGMA busy_timeout = {round(politeness.lock_timeout * 1000)}")
        if self._wal:
            # In WAL a commit then waits for no disk; the last one (`finish`) does, and for all before it.
            self._connection.execute("PRAGMA synchronous = NORMAL")

    def encoder(self) -> Callable[[Sequence[Any]], tuple[Row, int]]:
        encode = shared.RowEncoder(self._plan, lambda column: encoders(self._plan, column))

        def line(row: Sequence[Any]) -> tuple[Row, int]:
            encoded = tuple(encode(row))
            return encoded, sum([len(value) if isinstance(value, str | bytes) else 8 for value in encoded])

        return line

    def claim(self, name: str, fence: int) -> Position:
        def take() -> Position:
            self._connection.execute(sql.CREATE_CHECKPOINTS)
            self._connection.execute(sql.SWEEP, (KEEP_SECONDS,))
            row = self._connection.execute(sql.CLAIM, (name, fence)).fetchone()
            if row is None:
                raise LeaseLost(f"bulk write {name!r} has been taken over by a newer try of its job; this one ends")
            return _position(name, row)

        return self._transaction(take)

    def position(self, name: str) -> Position:
        row = self._connection.execute(sql.READ, (name,)).fetchone()
        if row is None:
            raise LeaseLost(f"the checkpoint of bulk write {name!r} is gone; somebody deleted it from the table")
        return _position(name, row)

    def stage(self, lane: int, lines: Sequence[Row]) -> None:
        self._lines = ordered(self._plan, lines)

    def discard(self, lane: int) -> None:
        self._lines = []

    def merge(self, lane: int, advance: Advance) -> Merged:
        began = time.perf_counter()
        written, returned = self._transaction(lambda: self._apply(advance))
        return Merged(written, time.perf_counter() - began, returned)

    def _apply(self, advance: Advance) -> tuple[int, list[Row]]:
        position = advance.position
        fence = (advance.pos, advance.mark, advance.rejected, position.name, position.epoch, position.pos)
        if self._connection.execute(sql.FENCE, fence).rowcount != 1:
            raise LeaseLost("a newer bulk write of the same name has taken over; this one ends")
        returned: list[Row] = []
        if self._plan.returning:
            for line in self._lines:
                returned += self._connection.execute(self._statement, line).fetchall()
            written = len(returned)
        else:
            written = self._connection.executemany(self._statement, self._lines).rowcount if self._lines else 0
        self._connection.execute(sql.COUNT, (written, position.name))
        return written, returned

    def finish(self, position: Position, keep: bool) -> None:
        if self._wal:
            self._connection.execute("PRAGMA synchronous = FULL")
        statement = sql.FINISH if keep else sql.FORGET
        self._transaction(lambda: self._connection.execute(statement, (position.name, position.epoch)))

    def close(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        self._connection.execute(f"PRAGMA busy_timeout = {self._busy}")
        self._connection.isolation_level = self._isolation
        self._fairy.close()

    def _transaction(self, work: Callable[[], T]) -> T:
        """`work` in one transaction that takes the write lock at its start, so that it cannot fail on it later."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            done = work()
            self._connection.execute("COMMIT")
            return done
        except sqlite3.Error as error:
            raise _translate(error) from error
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def _position(name: str, row: Row) -> Position:
    epoch, pos, mark, written, rejected, done = row
    return Position(name, epoch, pos, mark, written, rejected, bool(done))


def _column(row: Row, numbers_itself: bool = False) -> Column:
    _, name, declared, not_null, default, key, hidden = row
    return Column(
        name=name,
        kind=kind_of(declared),
        type=declared or "any type",
        nullable=not not_null and not key,
        optional=default is not None or numbers_itself,
        generated=hidden in (2, 3),
    )


def _translate(error: sqlite3.Error) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return TryAgain(f"the database is in use by another writer ({error})")
    if isinstance(error, sqlite3.IntegrityError | sqlite3.DataError) or code == sqlite3.SQLITE_TOOBIG:
        found = _COLUMN.search(str(error))
        return Refused(str(error), found.group(1) if found and "CHECK" not in str(error) else None)
    return error
