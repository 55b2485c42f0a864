"""A bulk write in a process of its own, to be killed: `python -m tests.bulk.victim URL KIND NAME ROWS`.

The update is not idempotent (each row adds to what is there), so a row applied twice or not at all shows.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator

import sqlalchemy as sa

from headgate import bulk
from headgate.bulk import target
from headgate.bulk.anydb.database import AnyDatabase

ITEMS = 500


def rows(count: int) -> Iterator[tuple[int, int]]:
    """The same rows each time: random keys, random amounts."""
    source = random.Random(9)
    for _ in range(count):
        yield source.randrange(ITEMS), source.randrange(1, 100)


def expected(count: int) -> list[int]:
    """What each item's stock must be in the end."""
    stocks = [0] * ITEMS
    for key, amount in rows(count):
        stocks[key] += amount
    return stocks


def main(url: str, kind: str, name: str, count: str) -> None:
    if kind == "anydb":
        vars(target)["database_for"] = AnyDatabase
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    print("begins", flush=True)  # noqa: T201 - the signal that the killer waits for
    politeness = bulk.Politeness(first=50, most=200)
    result = bulk.update(
        "items",
        rows(int(count)),
        on=engine,
        columns=["id", "stock"],
        set={"stock": "{old} + {new}"},
        name=name,
        politeness=politeness,
        progress=False,
    )
    print(f"ended {result.rows} {result.written}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
