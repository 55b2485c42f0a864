"""A bulk write on PostgreSQL: two connections; each stages outside the locks and merges in one go."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import psycopg
from sqlalchemy import Engine

from headgate.base.errors import LeaseLost
from headgate.bulk import values
from headgate.bulk.errors import WrongTarget
from headgate.bulk.model import Advance, Merged, Plan, Politeness, Position, Table
from headgate.bulk.postgres import sql, text
from headgate.bulk.postgres.connect import connect
from headgate.bulk.postgres.failures import lost, translate
from headgate.bulk.postgres.shape import describe

KEEP_SECONDS: Final = 7 * 86_400
"""Finished checkpoints are kept this long, for a retry that comes late."""
_BLOCK: Final = 256 << 10
_CONTROL: Final = 2
"""A connection for questions while both lanes may hold staged rows; opened when first needed."""
T = TypeVar("T")


class Postgres:
    """See `headgate.bulk.engine.Database`."""

    overlaps = True

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lanes: list[psycopg.Connection[Any] | None] = [None, None, None]
        self._passes = [1, 1]
        self._plan: Plan
        self._settings: tuple[str, str, str]

    def describe(self, schema: str | None, name: str) -> Table:
        return describe(self._connection(0), schema, name)

    def prepare(self, plan: Plan, politeness: Politeness) -> None:
        self._plan = plan
        zone = getattr(plan.zone, "key", None) or "UTC"
        self._settings = (_millis(politeness.lock_timeout), _millis(politeness.statement_timeout), zone)
        self._create, self._copy = sql.create_stage(plan), sql.copy(plan)

    def encoder(self) -> Callable[[Sequence[Any]], tuple[str, int]]:
        encode = values.RowEncoder(self._plan, lambda column: text.encoders(self._plan, column))

        def line(row: Sequence[Any]) -> tuple[str, int]:
            copied = "\t".join(encode(row))
            return copied, len(copied)

        return line

    def claim(self, name: str, fence: int) -> Position:
        def take(connection: psycopg.Connection[Any]) -> Position:
            _make_checkpoints(connection)
            connection.execute(sql.SWEEP, (KEEP_SECONDS,))
            row = connection.execute(sql.CLAIM, (name, fence)).fetchone()
            if row is None:
                raise LeaseLost(f"bulk write {name!r} has been taken over by a newer try of its job; this one ends")
            return Position(name, *row)

        return self._guarded(0, take)

    def position(self, name: str) -> Position:
        def read(connection: psycopg.Connection[Any]) -> Position:
            row = connection.execute(sql.READ, (name,)).fetchone()
            if row is None:
                raise LeaseLost(f"the checkpoint of bulk write {name!r} is gone; somebody deleted it from the table")
            return Position(name, *row)

        return self._guarded(_CONTROL, read)

    def stage(self, lane: int, lines: Sequence[str]) -> None:
        def fill(connection: psycopg.Connection[Any]) -> None:
            with connection.pipeline():
                connection.execute("BEGIN")
                connection.execute(sql.SETTINGS, self._settings)
                connection.execute(self._create)
            if lines:
                self._send(connection, lines)
            self._passes[lane] = self._count(connection) if self._plan.expressions else 1

        self._guarded(lane, fill)

    def _send(self, connection: psycopg.Connection[Any], lines: Sequence[str]) -> None:
        with connection.cursor().copy(self._copy) as copy:
            block: list[str] = []
            size = 0
            for line in lines:
                block.append(line)
                size += len(line)
                if size > _BLOCK:
                    copy.write(_joined(block))
                    block, size = [], 0
            copy.write(_joined(block))

    def _count(self, connection: psycopg.Connection[Any]) -> int:
        row = connection.execute(sql.passes(self._plan)).fetchone()
        return int(row[0]) if row else 0

    def merge(self, lane: int, advance: Advance) -> Merged:
        return self._guarded(lane, lambda connection: self._merge(connection, lane, advance))

    def _merge(self, connection: psycopg.Connection[Any], lane: int, advance: Advance) -> Merged:
        """The fence, the merge and the commit leave together: no locks are held while this process thinks."""
        position = advance.position
        fence = (advance.pos, advance.mark, advance.rejected, position.name, position.epoch, position.pos)
        passes = self._passes[lane]
        began = time.perf_counter()
        with connection.pipeline():
            connection.execute(sql.FENCE, fence)
            # More than one pass only where an expression must see every row of a key.
            merges = [
                connection.execute(sql.merge(self._plan, nth if passes > 1 else None), (position.name,))
                for nth in range(1, passes + 1)
            ]
            connection.execute("COMMIT")
        seconds = time.perf_counter() - began
        rows = [row for cursor in merges for row in cursor.fetchall()]
        if self._plan.returning:
            return Merged(len(rows), seconds, rows)
        return Merged(sum(row[0] for row in rows), seconds)

    def discard(self, lane: int) -> None:
        connection = self._lanes[lane]
        if connection is not None and not connection.closed:
            self._roll_back(lane, connection)

    def finish(self, position: Position, keep: bool) -> None:
        statement = sql.FINISH if keep else sql.FORGET
        # This commit waits for the disk, and with it all chunks before it: the log is flushed in order.
        self._guarded(0, lambda connection: connection.execute(statement, (position.name, position.epoch)))

    def close(self) -> None:
        for connection in self._lanes:
            if connection is not None:
                connection.close()
        self._lanes = [None, None, None]

    def _connection(self, lane: int) -> psycopg.Connection[Any]:
        connection = self._lanes[lane]
        if connection is None:
            connection = self._lanes[lane] = connect(self._engine)
        return connection

    def _guarded(self, lane: int, call: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Run `call` on the lane's connection; what fails leaves the lane clean and speaks the writer's language."""
        connection = self._connection(lane)
        try:
            return call(connection)
        except psycopg.Error as error:
            gone = lost(error, connection)
            self._roll_back(lane, connection)
            if sql.FENCED in str(error) and not gone:
                raise LeaseLost("a newer bulk write of the same name has taken over; this one ends") from error
            raise translate(error, connection) from error
        except BaseException:
            self._roll_back(lane, connection)
            raise

    def _roll_back(self, lane: int, connection: psycopg.Connection[Any]) -> None:
        try:
            connection.execute("ROLLBACK")
        except psycopg.Error:
            connection.close()
        if connection.closed:
            self._lanes[lane] = None


def _joined(lines: Sequence[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode() if lines else b""


def _millis(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))


def _make_checkpoints(connection: psycopg.Connection[Any]) -> None:
    if connection.execute("SELECT to_regclass(%s)", (sql.CHECKPOINTS,)).fetchone() != (None,):
        return
    try:
        connection.execute(sql.CREATE_CHECKPOINTS)
    except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateTable):
        pass  # another writer made it in the same moment
    except psycopg.errors.InsufficientPrivilege as error:
        raise WrongTarget(
            f"this user may not create the checkpoint table {sql.CHECKPOINTS}; have its owner create it once: "
            f"{sql.CREATE_CHECKPOINTS}"
        ) from error
