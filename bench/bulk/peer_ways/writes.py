"""The peers' ways to write, each as its documentation recommends: `… peer_ways.writes WAY OPERATION URL ROWS`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

from bench.bulk.data import COLUMNS, CONFLICT, MERGES, NAMES, UPDATES, rows
from bench.bulk.turn import play

Rows = list[dict[str, Any]]


def _psycopg_statement(operation: str) -> str:
    places = ", ".join(f"%({name})s" for name in COLUMNS)
    if operation == "update":
        return f"UPDATE items SET {', '.join(f'{n} = %({n})s' for n in COLUMNS[1:])} WHERE id = %(id)s"
    return f"INSERT INTO items ({NAMES}) VALUES ({places}) {CONFLICT if operation == 'upsert' else ''}"


def _plain(given: Rows) -> Rows:
    from psycopg.types.json import Jsonb

    return [{**row, "extra": Jsonb(row["extra"])} for row in given]


def row_by_row(operation: str, url: str, given: Rows) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        statement = _psycopg_statement(operation)
        for row in _plain(given):
            connection.execute(statement, row)


def executemany(operation: str, url: str, given: Rows) -> None:
    import psycopg

    with psycopg.connect(url) as connection:
        connection.cursor().executemany(_psycopg_statement(operation), _plain(given))


def execute_values(operation: str, url: str, given: Rows) -> None:
    import psycopg2
    from psycopg2.extras import Json, execute_values

    tuples = [(*(row[name] for name in COLUMNS[:-1]), Json(row["extra"])) for row in given]
    connection = psycopg2.connect(url)
    if operation == "update":
        sets = UPDATES.replace("s.extra", "s.extra::jsonb")
        sql = f"UPDATE items t SET {sets} FROM (VALUES %s) s ({NAMES}) WHERE t.id = s.id"
    else:
        sql = f"INSERT INTO items ({NAMES}) VALUES %s {CONFLICT if operation == 'upsert' else ''}"
    execute_values(connection.cursor(), sql, tuples, page_size=1000)
    connection.commit()


def _model(url: str) -> tuple[Any, Any]:
    import sqlalchemy as sa
    from sqlalchemy import orm
    from sqlalchemy.dialects.postgresql import JSONB

    class Base(orm.DeclarativeBase):
        pass

    class Item(Base):
        __tablename__ = "items"
        id = sa.Column(sa.BigInteger, primary_key=True)
        name = sa.Column(sa.Text)
        price = sa.Column(sa.Numeric(12, 2))
        stock = sa.Column(sa.Integer)
        at = sa.Column(sa.DateTime(timezone=True))
        extra = sa.Column(JSONB)

    return sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://")), Item


def core(operation: str, url: str, given: Rows) -> None:
    import sqlalchemy as sa
    from sqlalchemy.dialects.postgresql import insert

    engine, item = _model(url)
    table = item.__table__
    with engine.begin() as connection:
        if operation == "update":
            values = {name: sa.bindparam(f"v_{name}") for name in COLUMNS[1:]}
            statement: Any = sa.update(table).where(table.c.id == sa.bindparam("k")).values(values)
            given = [{"k": row["id"], **{f"v_{name}": row[name] for name in COLUMNS[1:]}} for row in given]
        else:
            statement = insert(table)
            if operation == "upsert":
                statement = statement.on_conflict_do_update(
                    index_elements=["id"], set_={name: statement.excluded[name] for name in COLUMNS[1:]}
                )
        connection.execute(statement, given)


def orm_bulk(operation: str, url: str, given: Rows) -> None:
    from sqlalchemy import orm, update
    from sqlalchemy.dialects.postgresql import insert

    engine, item = _model(url)
    with orm.Session(engine) as session:
        if operation == "update":
            given = [row for row in given if row["id"] % 2 == 0]  # a missing key raises StaleDataError
            session.execute(update(item), given)
        else:
            statement = insert(item)
            if operation == "upsert":
                statement = statement.on_conflict_do_update(
                    index_elements=["id"], set_={name: statement.excluded[name] for name in COLUMNS[1:]}
                )
            session.execute(statement, given)
        session.commit()


def asyncpg_copy(operation: str, url: str, given: Rows) -> None:
    import asyncpg

    async def main() -> None:
        connection = await asyncpg.connect(url)
        records = [(*(row[name] for name in COLUMNS[:-1]), json.dumps(row["extra"])) for row in given]
        async with connection.transaction():
            await connection.execute("CREATE TEMP TABLE stage (LIKE items) ON COMMIT DROP")
            await connection.copy_records_to_table("stage", records=records, columns=COLUMNS)
            await connection.execute(MERGES[operation])
        await connection.close()

    asyncio.run(main())


def adbc(operation: str, url: str, given: Rows) -> None:
    import pyarrow
    from adbc_driver_postgresql import dbapi

    columns: dict[str, Any] = {name: [row[name] for row in given] for name in COLUMNS}
    columns["price"] = [str(value) for value in columns["price"]]
    columns["extra"] = [json.dumps(value) for value in columns["extra"]]
    table = pyarrow.table(columns)
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("stage", table, mode="create", temporary=True)
        merge = MERGES[operation].replace("SELECT id, name, price, stock, at, extra", f"SELECT {_cast()}")
        merge = merge.replace("price = s.price", "price = s.price::numeric").replace(
            "extra = s.extra", "extra = s.extra::jsonb"
        )
        cursor.execute(merge)
        connection.commit()


def _cast() -> str:
    return NAMES.replace("price", "price::numeric").replace("extra", "extra::jsonb")


WAYS: dict[str, Callable[[str, str, Rows], None]] = {
    "row_by_row": row_by_row,
    "executemany": executemany,
    "execute_values": execute_values,
    "core": core,
    "orm": orm_bulk,
    "asyncpg": asyncpg_copy,
    "adbc": adbc,
}

if __name__ == "__main__":
    way, operation, url, count = sys.argv[1:]
    given = rows(int(count))
    play(lambda: WAYS[way](operation, url, given))
