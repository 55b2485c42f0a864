"""Headgate's turns: `python -m bench.bulk.ours write OPERATION URL ROWS [fast]`, `… read WAY URL`."""

from __future__ import annotations

import sys
from typing import Any

import sqlalchemy as sa

from bench.bulk.data import rows
from bench.bulk.turn import play
from headgate import bulk

FAST = bulk.Politeness(lock_target=10.0, first=10_000, most=10_000)
"""No politeness: chunks of 10,000 rows however long they lock."""


def write(operation: str, url: str, count: str, mode: str = "polite") -> None:
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool)
    engine.connect().close()
    given = rows(int(count))
    politeness = FAST if mode == "fast" else bulk.Politeness()
    call = getattr(bulk, operation)

    def work() -> Any:
        result = call("items", given, on=engine, progress=False, politeness=politeness)
        return {"written": result.written, "chunks": result.chunks, "retries": result.retries}

    play(work)


def read(way: str, url: str) -> None:
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool)
    engine.connect().close()

    def work() -> int:
        if way == "rows":
            return sum(1 for _ in bulk.read("SELECT * FROM many", on=engine))
        if way == "pages":
            return sum(1 for _ in bulk.read("SELECT * FROM many", on=engine, key="id", size=5_000))
        export = bulk.export("SELECT * FROM many", on=engine, form=way)  # type: ignore[arg-type]
        return export.size

    if way == "arrow":
        import pyarrow.csv  # the first import is no part of an export
        import pyarrow.ipc  # noqa: F401
    play(work)


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(*sys.argv[2:])
    else:
        read(*sys.argv[2:])
