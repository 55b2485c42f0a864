"""Kill a bulk write again and again at random moments, and check that each row was applied exactly once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa

from tests.bulk import victim
from tests.bulk.conftest import Store
from tests.support.process import die_with_parent

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 60.0


def prepare(store: Store) -> None:
    """The table of the victims, every stock at 0."""
    table = store.make(
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False), sa.Column("stock", sa.Integer)
    )
    with store.engine.begin() as connection:
        connection.execute(table.insert(), [{"id": n, "stock": 0} for n in range(victim.ITEMS)])
    store.engine.dispose()


def start(store: Store, name: str, count: int) -> subprocess.Popen[str]:
    """A victim that has begun to write."""
    url = store.engine.url.render_as_string(hide_password=False)
    kind = "anydb" if store.kind == "anydb" else "own"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bulk.victim", url, kind, name, str(count)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=die_with_parent,  # noqa: PLW1509 - runs one system call, before any thread of the child
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begins\n"
    return process


def finish(process: subprocess.Popen[str]) -> str:
    """Let a victim end by itself; returns its last line."""
    status = process.wait(DEADLINE)
    assert status == 0, f"the write ended with {status}"
    assert process.stdout is not None
    with process.stdout as out:  # and not communicate(), which misses what readline() has buffered
        return out.read().strip()


def kill_often(store: Store, kills: int, count: int, seed: int) -> int:
    """Start writes and kill them until `kills` of them died while they were under way; let the last one end.

    Returns:
        How many writes of `count` rows were made in all: one that ended before it was hit is followed by another.
    """
    moments = random.Random(seed)
    met = writes = 0
    while met < kills:
        process = start(store, f"write {writes}", count)
        try:
            process.wait(moments.uniform(0, 0.25))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            met += 1
            process.communicate(timeout=DEADLINE)
        else:
            assert finish(process) == f"ended {count} {count}"
            writes += 1
    assert finish(start(store, f"write {writes}", count)) == f"ended {count} {count}"
    return writes + 1


def check(store: Store, count: int, writes: int = 1) -> None:
    """Every row was applied once in each of the writes, and the checkpoints say so."""
    stocks = [stock for _, stock in store.rows("items")]
    assert stocks == [writes * stock for stock in victim.expected(count)]
    checkpoints = store.rows("headgate_bulk", "name")
    assert [(row[3], row[5], bool(row[7])) for row in checkpoints] == [(count, count, True)] * writes


def stop_and_overtake(store: Store, count: int) -> None:
    """Freeze a writer, start another of the same name, and thaw the first: it must find itself fenced, or done."""
    zombie = start(store, "write 0", count)
    try:
        zombie.wait(0.08)
    except subprocess.TimeoutExpired:
        zombie.send_signal(signal.SIGSTOP)
    other = start(store, "write 0", count)
    try:
        # A frozen process may hold a lock (SQLite's for certain, if it was within a chunk): then it is thawed early.
        other.wait(1)
    except subprocess.TimeoutExpired:
        pass
    finally:
        zombie.send_signal(signal.SIGCONT)
    finish(other)
    _, _ = zombie.communicate(timeout=DEADLINE)
