"""The rows of the bulk benchmarks: six columns, keys in random order, the same each time."""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal
from typing import Any

COLUMNS = ("id", "name", "price", "stock", "at", "extra")
CREATE = """CREATE TABLE {name} (id bigint PRIMARY KEY, name text NOT NULL, price numeric(12,2) NOT NULL,
stock int NOT NULL, at timestamptz NOT NULL, extra jsonb NOT NULL)"""
# Every other key is there: an update hits half of its rows, an upsert inserts the other half.
FILL = """INSERT INTO items SELECT n * 2, 'item ' || n, n / 4.0, n % 1000, now(), '{{"a": 1, "tags": ["x", "y"]}}'
FROM generate_series(0, {half} - 1) n"""

NAMES = ", ".join(COLUMNS)
SETS = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])
CONFLICT = f"ON CONFLICT (id) DO UPDATE SET {SETS}"
UPDATES = ", ".join(f"{name} = s.{name}" for name in COLUMNS[1:])
MERGES = {
    "insert": f"INSERT INTO items ({NAMES}) SELECT {NAMES} FROM stage",
    "upsert": f"INSERT INTO items ({NAMES}) SELECT {NAMES} FROM stage {CONFLICT}",
    "update": f"UPDATE items t SET {UPDATES} FROM stage s WHERE t.id = s.id",
}


def rows(count: int) -> list[dict[str, Any]]:
    """`count` rows with the keys 0 … count-1 in random order."""
    chance = random.Random(1)
    keys = list(range(count))
    chance.shuffle(keys)
    begin = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return [
        {
            "id": key,
            "name": f"item {key}",
            "price": Decimal(chance.randrange(1, 10**6)).scaleb(-2),
            "stock": chance.randrange(1000),
            "at": begin + dt.timedelta(seconds=key),
            "extra": {"a": key, "tags": ["x", "y"]},
        }
        for key in keys
    ]
