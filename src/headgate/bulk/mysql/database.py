"""A bulk write on MySQL or MariaDB: two connections; each stages outside the locks and merges in one transaction."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import pymysql
import sqlalchemy as sa
from pymysql.constants import CLIENT

from headgate.base.errors import LeaseLost
from headgate.bulk import values as shared
from headgate.bulk.errors import WrongTarget
from headgate.bulk.failures import Refused
from headgate.bulk.model import Advance, Conflict, Merged, Operation, Plan, Politeness, Position, Table
from headgate.bulk.mysql import sql
from headgate.bulk.mysql.failures import lost, refused, translate
from headgate.bulk.mysql.shape import describe
from headgate.bulk.mysql.values import encoders

KEEP_SECONDS: Final = 7 * 86_400
_CONTROL: Final = 2
"""A connection for questions while both lanes may hold staged rows; opened when first needed."""
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})
Field = str | bytes | None
Row = tuple[Field, ...]
Connection = Any
T = TypeVar("T")


class MySQL:
    """See `headgate.bulk.engine.Database`."""

    overlaps = True

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._lanes: list[Connection | None] = [None, None, None]
        self._counts = [(0, 1), (0, 1)]
        self._flags = CLIENT.FOUND_ROWS
        self._plan: Plan
        self._politeness = Politeness()
        self._load = False
        self._mariadb = False
        self._folder = tempfile.TemporaryDirectory(prefix="headgate-bulk-")

    def describe(self, schema: str | None, name: str) -> Table:
        def look(connection: Connection) -> Table:
            with connection.cursor() as cursor:
                cursor.execute("SELECT @@version, @@local_infile")
                version, local_infile = cursor.fetchone()
                self._mariadb = "mariadb" in version.lower()
                self._load = bool(local_infile)
                return describe(cursor, schema, name, self._mariadb)

        return self._guarded(_CONTROL, look)

    def prepare(self, plan: Plan, politeness: Politeness) -> None:
        if plan.returning and not (self._mariadb and plan.operation in (Operation.INSERT, Operation.UPSERT)):
            raise WrongTarget(
                f"this server has no RETURNING for a bulk {plan.operation}; MariaDB has it for insert and upsert. "
                "Read the rows back by their keys instead"
            )
        self._plan, self._politeness = plan, politeness
        # Updates count the rows they found; an insert that skips can only be counted without that.
        skips = plan.operation is Operation.INSERT and plan.conflict is Conflict.SKIP
        self._flags = 0 if skips else CLIENT.FOUND_ROWS

    def encoder(self) -> Callable[[Sequence[Any]], tuple[Row, int]]:
        encode = shared.RowEncoder(self._plan, lambda column: encoders(self._plan, column))

        def line(row: Sequence[Any]) -> tuple[Row, int]:
            encoded = tuple(encode(row))
            return encoded, sum([len(value) + 1 if value is not None else 3 for value in encoded])

        return line

    def claim(self, name: str, fence: int) -> Position:
        def take(connection: Connection) -> Position:
            with connection.cursor() as cursor:
                cursor.execute("SHOW TABLES LIKE %s", (sql.CHECKPOINTS.replace("_", r"\_"),))
                if cursor.fetchone() is None:
                    cursor.execute(sql.CREATE_CHECKPOINTS)
                cursor.execute(sql.SWEEP, (KEEP_SECONDS,))
                # One transaction: a second claimer must not raise the epoch before this one has read it.
                cursor.execute("START TRANSACTION")
                cursor.execute(sql.CLAIM, (name, fence))
                position, newest = self._read(connection, name)
                cursor.execute("COMMIT")
            if newest > fence:
                raise LeaseLost(f"bulk write {name!r} has been taken over by a newer try of its job; this one ends")
            return position

        return self._guarded(_CONTROL, take)

    def position(self, name: str) -> Position:
        return self._guarded(_CONTROL, lambda connection: self._read(connection, name)[0])

    def _read(self, connection: Connection, name: str) -> tuple[Position, int]:
        with connection.cursor() as cursor:
            cursor.execute(sql.READ, (name,))
            row = cursor.fetchone()
        if row is None:
            raise LeaseLost(f"the checkpoint of bulk write {name!r} is gone; somebody deleted it from the table")
        return _position(name, row), row[6]

    def stage(self, lane: int, lines: Sequence[Row]) -> None:
        def fill(connection: Connection) -> None:
            with connection.cursor() as cursor:
                cursor.execute(f"DROP TEMPORARY TABLE IF EXISTS {sql.STAGE}")
                cursor.execute(sql.create_stage(self._plan))
                if lines:
                    (self._load_file if self._load else self._insert_rows)(cursor, lane, lines)
                self._counts[lane] = self._count(cursor, len(lines))

        self._guarded(lane, fill, staging=True)

    def _load_file(self, cursor: Any, lane: int, lines: Sequence[Row]) -> None:
        path = os.path.join(self._folder.name, f"lane{lane}")
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.writelines("\t".join([_field(value) for value in line]) + "\n" for line in lines)
        cursor.execute(sql.load(self._plan), (path,))
        # With LOCAL the server turns errors into warnings and bends the value: a warning is a refusal here.
        cursor.execute("SHOW WARNINGS LIMIT 1")
        warning = cursor.fetchone()
        if warning is not None:
            raise refused(str(warning[2]), staging=True)

    def _insert_rows(self, cursor: Any, lane: int, lines: Sequence[Row]) -> None:
        """PyMySQL joins these into statements of up to 1 MB; a row's number in a message is that of its statement."""
        cursor.executemany(sql.insert_stage(self._plan), lines)

    def _count(self, cursor: Any, rows: int) -> tuple[int, int]:
        if self._plan.operation is Operation.INSERT:
            return rows, 1
        cursor.execute(sql.distinct(self._plan))
        distinct, most = cursor.fetchone()
        return (rows, int(most)) if self._plan.expressions else (int(distinct), 1)

    def merge(self, lane: int, advance: Advance) -> Merged:
        return self._guarded(lane, lambda connection: self._merge(connection, lane, advance))

    def _merge(self, connection: Connection, lane: int, advance: Advance) -> Merged:
        position = advance.position
        fence = (advance.pos, advance.mark, advance.rejected, position.name, position.epoch, position.pos)
        began = time.perf_counter()
        with connection.cursor() as cursor:
            cursor.execute("START TRANSACTION")
            if cursor.execute(sql.FENCE, fence) != 1:
                raise LeaseLost("a newer bulk write of the same name has taken over; this one ends")
            written, returned = self._apply(cursor, lane)
            cursor.execute(sql.COUNT, (written, position.name))
            cursor.execute("COMMIT")
        return Merged(written, time.perf_counter() - began, returned)

    def _apply(self, cursor: Any, lane: int) -> tuple[int, Sequence[tuple[Any, ...]]]:
        rows, passes = self._counts[lane]
        if not rows:
            return 0, ()
        plan = self._plan
        if plan.operation is Operation.UPDATE and passes > 1:
            return sum(cursor.execute(sql.merge(plan, nth), ()) for nth in range(1, passes + 1)), ()
        affected = cursor.execute(sql.merge(plan), ())
        if plan.returning:
            returned = cursor.fetchall()
            return len(returned), returned
        # An upsert's affected rows count an updated row twice; all staged rows were written, or it had failed.
        return (rows if plan.operation is Operation.UPSERT else affected), ()

    def discard(self, lane: int) -> None:
        """The stage is replaced when the lane is used again, and goes with the connection."""

    def finish(self, position: Position, keep: bool) -> None:
        statement = sql.FINISH if keep else sql.FORGET

        def end(connection: Connection) -> None:
            with connection.cursor() as cursor:
                cursor.execute(statement, (position.name, position.epoch))

        self._guarded(_CONTROL, end)

    def close(self) -> None:
        for lane in range(len(self._lanes)):
            self._drop(lane)
        self._folder.cleanup()

    def _drop(self, lane: int) -> None:
        connection, self._lanes[lane] = self._lanes[lane], None
        if connection is not None and connection.open:
            connection.close()

    def _connection(self, lane: int) -> Connection:
        connection = self._lanes[lane]
        if connection is None:
            connection = self._lanes[lane] = self._connect()
        return connection

    def _connect(self) -> Connection:
        """Of the bulk write's own, over the engine's address: LOAD DATA LOCAL is allowed when connecting or never."""
        twin = sa.create_engine(self._engine.url.set(drivername="mysql+pymysql"), poolclass=sa.NullPool)
        _, arguments = twin.dialect.create_connect_args(twin.url)
        arguments.update(
            client_flag=self._flags, local_infile=True, autocommit=True, charset="utf8mb4", connect_timeout=10
        )
        connection = pymysql.connect(**arguments)
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION time_zone = '+00:00'")
            cursor.execute("SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')")
            cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {max(1, round(self._politeness.lock_timeout))}")
            if self._mariadb:
                cursor.execute(f"SET SESSION max_statement_time = {self._politeness.statement_timeout}")
            cursor.execute("SELECT @@log_bin, @@binlog_format")
            logs, form = cursor.fetchone()
            if not logs or form != "STATEMENT":
                # Without gap locks, so that a chunk locks its rows and not their neighbours
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        return connection

    def _guarded(self, lane: int, call: Callable[[Connection], T], staging: bool = False) -> T:
        """Run `call` on the lane's connection; what fails leaves the lane clean and speaks the writer's language."""
        try:
            return call(self._connection(lane))
        except pymysql.MySQLError as error:
            self._clean(lane, broken=lost(error))
            raise translate(error, staging) from error
        except Refused:
            raise
        except BaseException:
            self._clean(lane, broken=False)
            raise

    def _clean(self, lane: int, broken: bool) -> None:
        connection = self._lanes[lane]
        if connection is None:
            return
        try:
            if not broken:
                connection.rollback()
                return
        except pymysql.MySQLError:
            pass
        self._drop(lane)


def _position(name: str, row: tuple[Any, ...]) -> Position:
    epoch, pos, mark, written, rejected, done, _ = row
    return Position(name, epoch, pos, mark, written, rejected, bool(done))


def _field(value: Field) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, bytes):
        return value.hex()
    return value.translate(_ESCAPES)
