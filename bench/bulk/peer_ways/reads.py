"""The peers' ways to read a million rows: `python -m bench.bulk.peer_ways.reads WAY URL`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable

from bench.bulk.turn import play

QUERY = "SELECT * FROM many"


def fetchall(url: str) -> int:
    import psycopg

    with psycopg.connect(url) as connection:
        return len(connection.execute(QUERY).fetchall())


def named(url: str) -> int:
    import psycopg

    with psycopg.connect(url) as connection, connection.cursor("many") as cursor:
        cursor.itersize = 2_000
        cursor.execute(QUERY)
        return sum(1 for _ in cursor)


def stream(url: str) -> int:
    import psycopg

    with psycopg.connect(url) as connection:
        return sum(1 for _ in connection.cursor().stream(QUERY, size=1_000))


def asyncpg_cursor(url: str) -> int:
    import asyncpg

    async def main() -> int:
        connection = await asyncpg.connect(url)
        count = 0
        async with connection.transaction():
            async for _ in connection.cursor(QUERY, prefetch=1_000):
                count += 1
        await connection.close()
        return count

    return asyncio.run(main())


def copy_csv(url: str) -> int:
    import psycopg

    with psycopg.connect(url) as connection, tempfile.TemporaryFile() as file:
        with connection.cursor().copy(f"COPY ({QUERY}) TO STDOUT (FORMAT csv, HEADER)") as copy:
            for block in copy:
                file.write(block)
        return file.tell()


def adbc(url: str) -> int:
    from adbc_driver_postgresql import dbapi
    from pyarrow import ipc

    with dbapi.connect(url) as connection, connection.cursor() as cursor, tempfile.TemporaryFile() as file:
        cursor.execute(QUERY)
        reader = cursor.fetch_record_batch()
        with ipc.new_stream(file, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)
        return file.tell()


WAYS: dict[str, Callable[[str], int]] = {
    "fetchall": fetchall,
    "named": named,
    "stream": stream,
    "asyncpg": asyncpg_cursor,
    "copy": copy_csv,
    "adbc": adbc,
}

if __name__ == "__main__":
    way, url = sys.argv[1:]
    play(lambda: WAYS[way](url))
