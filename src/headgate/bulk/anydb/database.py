"""A bulk write on any database that SQLAlchemy knows, through its Core: slower, and with the same guarantees."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import types

from headgate.base.errors import LeaseLost
from headgate.bulk import values as shared
from headgate.bulk.anydb.values import Checked
from headgate.bulk.errors import WrongTarget
from headgate.bulk.failures import Refused, TryAgain
from headgate.bulk.model import (
    Advance,
    Column,
    Conflict,
    Kind,
    Merged,
    Operation,
    Plan,
    Politeness,
    Position,
    Table,
)
from headgate.bulk.order import ordered
from headgate.bulk.phrases import render

CHECKPOINTS: Final = sa.Table(
    "headgate_bulk",
    sa.MetaData(),
    sa.Column("name", sa.String(191), primary_key=True),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("epoch", "fence", "pos")),
    sa.Column("mark", sa.Text, nullable=False),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("written", "rejected")),
    sa.Column("done", sa.Boolean, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
)
KEEP_SECONDS: Final = 7 * 86_400
_KEYS_AT_ONCE: Final = 500
Row = tuple[Any, ...]

_KINDS: Final = (
    (types.Boolean, Kind.BOOLEAN),
    (types.Integer, Kind.INTEGER),
    (types.Float, Kind.FLOAT),
    (types.Numeric, Kind.DECIMAL),
    (types.JSON, Kind.JSON),
    (types.Uuid, Kind.UUID),
    (types.DateTime, Kind.TIMESTAMP),
    (types.Date, Kind.DATE),
    (types.Time, Kind.TIME),
    (types.LargeBinary, Kind.BYTES),
    (types.String, Kind.TEXT),
)


class AnyDatabase:
    """See `headgate.bulk.engine.Database`."""

    overlaps = False

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._plan: Plan
        self._table: sa.Table
        self._lines: list[Row] = []

    def describe(self, schema: str | None, name: str) -> Table:
        try:
            with self._problems():
                self._table = sa.Table(name, sa.MetaData(), schema=schema, autoload_with=self._engine)
                unique = sa.inspect(self._engine).get_unique_constraints(name, schema)
        except sa.exc.NoSuchTableError:
            raise WrongTarget(f"there is no table {name} in this database; check its name and schema") from None
        primary = tuple(str(column.name) for column in self._table.primary_key.columns)
        return Table(
            schema,
            name,
            {str(column.name): _column(column, primary) for column in self._table.columns},
            primary,
            tuple(tuple(each["column_names"]) for each in unique),
        )

    def prepare(self, plan: Plan, politeness: Politeness) -> None:
        if plan.returning and plan.operation is not Operation.INSERT:
            raise WrongTarget(f"returning= of a bulk {plan.operation} is not there for {self._engine.dialect.name}")
        self._plan = plan

    def encoder(self) -> Callable[[Sequence[Any]], tuple[Row, int]]:
        encode = shared.RowEncoder(self._plan, lambda column: Checked(self._plan, column))

        def line(row: Sequence[Any]) -> tuple[Row, int]:
            encoded = tuple(encode(row))
            return encoded, sum([len(value) if isinstance(value, str | bytes) else 8 for value in encoded])

        return line

    def claim(self, name: str, fence: int) -> Position:
        columns = CHECKPOINTS.c
        with self._problems(), self._engine.begin() as connection:
            CHECKPOINTS.create(connection, checkfirst=True)
            old = time.time() - KEEP_SECONDS
            connection.execute(
                CHECKPOINTS.delete().where(columns.done | columns.name.like("call/%"), columns.updated_at < old)
            )
            taken = connection.execute(
                CHECKPOINTS.update()
                .where(columns.name == name, columns.fence <= fence)
                .values(epoch=columns.epoch + 1, fence=fence, updated_at=time.time())
            )
            if taken.rowcount == 0:
                # Where the name is there with a newer fence, this fails on the primary key.
                self._first(connection, name, fence)
            return self._read(connection, name)

    def _first(self, connection: sa.Connection, name: str, fence: int) -> None:
        found = connection.execute(sa.select(CHECKPOINTS.c.fence).where(CHECKPOINTS.c.name == name)).first()
        if found is not None:
            raise LeaseLost(f"bulk write {name!r} has been taken over by a newer try of its job; this one ends")
        connection.execute(
            CHECKPOINTS.insert().values(
                name=name,
                epoch=1,
                fence=fence,
                pos=0,
                mark="",
                written=0,
                rejected=0,
                done=False,
                updated_at=time.time(),
            )
        )

    def _read(self, connection: sa.Connection, name: str) -> Position:
        row = connection.execute(sa.select(CHECKPOINTS).where(CHECKPOINTS.c.name == name)).first()
        if row is None:
            raise LeaseLost(f"the checkpoint of bulk write {name!r} is gone; somebody deleted it from the table")
        return Position(name, row.epoch, row.pos, row.mark, row.written, row.rejected, row.done)

    def position(self, name: str) -> Position:
        with self._problems(), self._engine.connect() as connection:
            return self._read(connection, name)

    def stage(self, lane: int, lines: Sequence[Row]) -> None:
        self._lines = ordered(self._plan, lines)

    def discard(self, lane: int) -> None:
        self._lines = []

    def merge(self, lane: int, advance: Advance) -> Merged:
        columns, position = CHECKPOINTS.c, advance.position
        began = time.perf_counter()
        with self._problems(), self._engine.begin() as connection:
            fenced = connection.execute(
                CHECKPOINTS.update()
                .where(columns.name == position.name, columns.epoch == position.epoch, columns.pos == position.pos)
                .values(
                    pos=advance.pos,
                    mark=advance.mark,
                    rejected=columns.rejected + advance.rejected,
                    updated_at=time.time(),
                )
            )
            if fenced.rowcount != 1:
                raise LeaseLost("a newer bulk write of the same name has taken over; this one ends")
            written, returned = self._apply(connection)
            mine = CHECKPOINTS.update().where(columns.name == position.name)
            connection.execute(mine.values(written=columns.written + written))
        return Merged(written, time.perf_counter() - began, returned)

    def _apply(self, connection: sa.Connection) -> tuple[int, Sequence[Row]]:
        rows = [dict(zip(self._plan.columns, line, strict=True)) for line in self._lines]
        if not rows:
            return 0, ()
        if self._plan.operation is Operation.INSERT and self._plan.conflict is Conflict.ERROR:
            return self._insert(connection, rows)
        if self._plan.operation is Operation.INSERT and self._plan.any_conflict:
            raise WrongTarget("skipping conflicts on this database needs key= the columns that conflict")
        present = self._present(connection)
        there = [row for row in rows if self._key(row) in present]
        if self._plan.operation is Operation.DELETE:
            self._each(connection, sa.delete(self._table), there)
            return len(there), ()
        if self._plan.operation is Operation.UPDATE:
            self._update(connection, there)
            return len(there), ()
        return self._merge_rows(connection, rows, present)

    def _merge_rows(
        self, connection: sa.Connection, rows: list[dict[str, Any]], present: set[Row]
    ) -> tuple[int, Sequence[Row]]:
        """Insert what is not there; update the rest, a later row of a new key included."""
        fresh, old = [], []
        for row in rows:
            if self._key(row) in present:
                old.append(row)
            else:
                present.add(self._key(row))
                fresh.append(row)
        written, returned = self._insert(connection, fresh) if fresh else (0, ())
        if self._plan.operation is Operation.UPSERT and self._plan.changed:
            self._update(connection, old)
            written += len(old)
        return written, returned

    def _insert(self, connection: sa.Connection, rows: list[dict[str, Any]]) -> tuple[int, Sequence[Row]]:
        statement = sa.insert(self._table)
        if not self._plan.returning:
            connection.execute(statement, rows)
            return len(rows), ()
        wanted = [self._table.c[name] for name in self._plan.returning]
        return len(rows), [tuple(row) for row in connection.execute(statement.returning(*wanted), rows)]

    def _update(self, connection: sa.Connection, rows: list[dict[str, Any]]) -> None:
        values: dict[str, Any] = {}
        for name in self._plan.changed:
            expression = self._plan.expressions.get(name)
            values[name] = self._expression(expression, name) if expression else sa.bindparam(f"v_{name}")
        self._each(connection, sa.update(self._table).values(values), rows)

    def _expression(self, expression: str, name: str) -> Any:
        quoted = self._engine.dialect.identifier_preparer.quote
        filled = render(expression, name, quoted, lambda column: f":v_{column}").replace("%%", "%")
        used = [column for column in self._plan.columns if f":v_{column}" in filled]
        return sa.text(filled).bindparams(*(sa.bindparam(f"v_{c}", type_=self._table.c[c].type) for c in used))

    def _each(self, connection: sa.Connection, statement: Any, rows: list[dict[str, Any]]) -> None:
        """Run a statement for each row's key, one after the other in their order."""
        if not rows:
            return
        for name in self._plan.key:
            statement = statement.where(self._table.c[name] == sa.bindparam(f"k_{name}"))
        parameters = [
            {**{f"k_{n}": row[n] for n in self._plan.key}, **{f"v_{n}": value for n, value in row.items()}}
            for row in rows
        ]
        wanted = set(statement.compile(self._engine).params)
        connection.execute(statement, [{n: v for n, v in each.items() if n in wanted} for each in parameters])

    def _key(self, row: dict[str, Any]) -> Row:
        return tuple(row[name] for name in self._plan.key)

    def _present(self, connection: sa.Connection) -> set[Row]:
        """Which keys of the chunk are in the table."""
        keys = [self._table.c[name] for name in self._plan.key]
        places = [self._plan.columns.index(name) for name in self._plan.key]
        wanted = list(dict.fromkeys(tuple(line[place] for place in places) for line in self._lines))
        found: set[Row] = set()
        for start in range(0, len(wanted), _KEYS_AT_ONCE):
            part = wanted[start : start + _KEYS_AT_ONCE]
            if len(keys) == 1:
                condition: Any = keys[0].in_([key[0] for key in part])
            else:
                condition = sa.or_(*(sa.and_(*(c == v for c, v in zip(keys, key, strict=True))) for key in part))
            found.update(tuple(row) for row in connection.execute(sa.select(*keys).where(condition)))
        return found

    def finish(self, position: Position, keep: bool) -> None:
        columns = CHECKPOINTS.c
        mine = (columns.name == position.name, columns.epoch == position.epoch)
        with self._problems(), self._engine.begin() as connection:
            if keep:
                connection.execute(CHECKPOINTS.update().where(*mine).values(done=True, updated_at=time.time()))
            else:
                connection.execute(CHECKPOINTS.delete().where(*mine))

    def close(self) -> None:
        """The connections are the engine's."""

    @contextmanager
    def _problems(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            if error.connection_invalidated:
                raise TryAgain(f"the connection was lost ({error.orig})", lost=True) from error
            if isinstance(error, sa.exc.IntegrityError | sa.exc.DataError):
                raise Refused(str(error.orig)) from error
            if isinstance(error, sa.exc.OperationalError):
                raise TryAgain(str(error.orig)) from error
            raise
        except sa.exc.StatementError as error:
            raise Refused(str(error.orig or error)) from error


def _column(column: sa.Column[Any], primary: tuple[str, ...]) -> Column:
    kind = next((kind for sort, kind in _KINDS if isinstance(column.type, sort)), Kind.OTHER)
    numbered = primary == (column.name,) and kind is Kind.INTEGER
    return Column(
        name=str(column.name),
        kind=kind,
        type=str(column.type),
        nullable=bool(column.nullable),
        optional=column.server_default is not None or column.identity is not None or numbered,
        generated=column.computed is not None,
    )
