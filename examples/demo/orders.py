"""The orders: one SQLite table, and the heavy work on it that the demonstration is about."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROWS: Final = 200_000
CHUNK: Final = 1_000
SUPPLIER_SECONDS: Final = 0.04
"""How long the supplier's price service takes to answer, once per chunk."""

_ITEMS: Final = (
    "Desk lamp",
    "Oak shelf",
    "Wool rug",
    "Tea kettle",
    "Bread knife",
    "Floor vase",
    "Cane chair",
    "Linen throw",
)
_CITIES: Final = ("Aarhus", "Bilbao", "Cork", "Dresden", "Evora", "Gdynia", "Lyon", "Turku")

_SCHEMA: Final = """
CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    item TEXT NOT NULL,
    city TEXT NOT NULL,
    base_cents INTEGER NOT NULL,
    price_cents INTEGER NOT NULL
)
"""

_threads = threading.local()


def database() -> Path:
    """Where the table is: in Headgate's data folder."""
    return Path(os.environ.get("HEADGATE_DATA", ".headgate")) / "orders.db"


def prepare() -> None:
    """Create the table at the first start; about a second.

    Every process of the app calls this when it starts, at the same time: the first one takes the write
    lock, the others wait for it and find the table made.
    """
    database().parent.mkdir(parents=True, exist_ok=True)
    db = connection()
    db.execute("BEGIN IMMEDIATE")
    with db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'orders'").fetchone():
            db.execute(_SCHEMA)
            db.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?)", _made_up())


def connection() -> sqlite3.Connection:
    """This thread's connection: SQLite connections stay with the thread that opened them."""
    db: sqlite3.Connection | None = getattr(_threads, "db", None)
    if db is None:
        db = sqlite3.connect(database(), timeout=60, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        _threads.db = db
    return db


def order(number: int) -> dict[str, Any]:
    """One order, as a click shows it: one indexed read."""
    row = connection().execute("SELECT id, item, city, price_cents FROM orders WHERE id = ?", (number,)).fetchone()
    return {"number": row[0], "item": row[1], "city": row[2], "price": row[3] / 100}


def chunks() -> Iterator[range]:
    """All order numbers, a chunk at a time."""
    for first in range(1, ROWS + 1, CHUNK):
        yield range(first, min(first + CHUNK, ROWS + 1))


def reprice_chunk(numbers: range, percent: float) -> None:
    """Ask the supplier, then update the chunk's orders row by row, as many an app does.

    The new price comes from the base price, not from the old price: a chunk that is done twice, because
    a worker died in it, is done right.
    """
    factor = _ask_supplier(percent)
    db = connection()
    db.execute("BEGIN IMMEDIATE")
    with db:
        rows = db.execute("SELECT id, base_cents FROM orders WHERE id BETWEEN ? AND ?", (numbers[0], numbers[-1]))
        for number, base in rows.fetchall():
            db.execute("UPDATE orders SET price_cents = ? WHERE id = ?", (round(base * factor), number))


def _ask_supplier(percent: float) -> float:
    """The slow upstream call of this story. It blocks its thread, like a driver that waits in C."""
    time.sleep(SUPPLIER_SECONDS)
    return 1 + percent / 100


def _made_up() -> Iterator[tuple[int, str, str, int, int]]:
    pick = random.Random(7)
    for number in range(1, ROWS + 1):
        cents = pick.randrange(900, 90_000)
        yield number, pick.choice(_ITEMS), pick.choice(_CITIES), cents, cents
