"""How a chunk gets to PostgreSQL: COPY as text, COPY as binary, one JSON array. `python -m bench.bulk.encodings`.

Client and server together, 20 chunks of 10,000 rows into a temporary table, rounds interleaved, medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import psycopg
import sqlalchemy as sa
from psycopg.types.json import Jsonb

from bench.bulk.data import COLUMNS, CREATE, rows
from headgate import bulk
from headgate.bulk.model import Conflict, Operation
from headgate.bulk.plan import make_plan
from headgate.bulk.postgres.database import Postgres as Database
from tests.support.postgres import Postgres

ROWS, CHUNK, ROUNDS = 200_000, 10_000, 5
STAGE = "CREATE TEMP TABLE stage (id bigint, name text, price numeric, stock int, at timestamptz, extra jsonb)"
TYPES = ("int8", "text", "numeric", "int4", "timestamptz", "jsonb")
FROM_JSON = "INSERT INTO stage SELECT * FROM json_to_recordset(%s::json) AS s(id bigint, name text, price numeric, "
FROM_JSON += "stock int, at timestamptz, extra jsonb)"

Chunk = list[tuple[Any, ...]]
Way = Callable[[psycopg.Connection[Any], Chunk], None]


def as_text(encode: Callable[[Sequence[Any]], tuple[str, int]]) -> Way:
    """COPY in text form, as Headgate does it."""

    def stage(connection: psycopg.Connection[Any], chunk: Chunk) -> None:
        with connection.cursor().copy("COPY stage FROM STDIN") as copy:
            copy.write("".join(encode(row)[0] + "\n" for row in chunk))

    return stage


def as_binary(connection: psycopg.Connection[Any], chunk: Chunk) -> None:
    """COPY in binary form, by psycopg's own dumpers."""
    with connection.cursor().copy("COPY stage FROM STDIN (FORMAT binary)") as copy:
        copy.set_types(TYPES)
        for *plain, extra in chunk:
            copy.write_row((*plain, Jsonb(extra)))


def as_json(connection: psycopg.Connection[Any], chunk: Chunk) -> None:
    """One parameter: an array of objects, which the server takes apart."""
    array = msgspec.json.encode([dict(zip(COLUMNS, row, strict=True)) for row in chunk])
    connection.execute(FROM_JSON, [array.decode()])


def encoder(url: str) -> Callable[[Sequence[Any]], tuple[str, int]]:
    """Headgate's own encoder for the table of the benchmark."""
    database = Database(sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:")))
    table = database.describe(None, "items")
    nothing: dict[str, Any] = {}
    plan = make_plan(
        Operation.INSERT,
        table,
        COLUMNS,
        key=(),
        update=(),
        expressions=nothing,
        conflict=Conflict.ERROR,
        returning=(),
        zone=None,
        textual=False,
        before=nothing,
    )
    database.prepare(plan, bulk.Politeness())
    database.close()
    return database.encoder()


def main() -> None:
    """Measure and print rows per second."""
    given = [tuple(row[name] for name in COLUMNS) for row in rows(ROWS)]
    chunks = [given[low : low + CHUNK] for low in range(0, ROWS, CHUNK)]
    with Postgres(durable=True) as server, psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(CREATE.format(name="items").encode())
        connection.execute(STAGE)
        ways: dict[str, Way] = {
            "COPY, text": as_text(encoder(server.url())),
            "COPY, binary": as_binary,
            "json_to_recordset": as_json,
        }
        took: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                connection.execute("TRUNCATE stage")
                began = time.perf_counter()
                for chunk in chunks:
                    way(connection, chunk)
                took[name].append(time.perf_counter() - began)
        for name, seconds in took.items():
            print(f"{name:20} {ROWS / statistics.median(seconds):9,.0f} rows/s")


if __name__ == "__main__":
    main()
