"""A whole store, piece by piece, for another engine: jobs in the order of their acceptance, then the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from headgate.base.model import Cron
from headgate.drivers.local import claims
from headgate.drivers.local.rows import SELECT, Row
from headgate.drivers.local.store import QueueRules, Store

Kept = tuple[int, str, bytes, float, bool]
"""An event as it is stored: offset, kind, data in msgpack, moment, terminal."""


class DumpedJob(NamedTuple):
    """A job with what is not in its row."""

    row: Row
    due: float | None
    expires: float | None
    events: list[Kept]
    needs: list[str]
    """Jobs that it waits for still."""


class DumpedStream(NamedTuple):
    """A stream of user code."""

    name: str
    last: int
    ended: bool
    expires: float | None
    state: bytes
    events: list[Kept]
    producers: list[tuple[str, int, int]]


def release(store: Store) -> int:
    """Nobody holds anything any more: what ran goes back to its queue, and no try is counted. Returns how many."""
    with store.transaction():
        return sum(claims.abandon(store, worker, []) for worker in claims.holders(store))


def jobs(store: Store) -> Iterator[DumpedJob]:
    """Every job, the oldest first."""
    last = 0
    while rows := store.db.execute(SELECT + "WHERE j.seq > ? ORDER BY j.seq LIMIT 500", (last,)).fetchall():
        for raw in rows:
            row = Row._make(raw)
            last = row.seq
            due, expires = store.db.execute("SELECT due, expires FROM jobs WHERE seq = ?", (last,)).fetchone()
            needs = [needed for (needed,) in store.db.execute("SELECT needed FROM waits WHERE seq = ?", (last,))]
            yield DumpedJob(row, due, expires, _events(store, last), needs)


def streams(store: Store) -> Iterator[DumpedStream]:
    """Every stream of user code that is not hidden."""
    query = "SELECT seq, name, last, ended, expires, state FROM streams WHERE expires IS NOT NULL ORDER BY seq"
    for seq, name, last, ended, expires, state in store.db.execute(query).fetchall():
        found = store.db.execute("SELECT producer, epoch, last FROM producers WHERE stream = ?", (seq,))
        yield DumpedStream(name, last, bool(ended), expires, state or b"", _events(store, seq), found.fetchall())


def rules(store: Store) -> dict[str, QueueRules]:
    """The rules of the queues that have some."""
    return dict(store.rules)


def crons(store: Store) -> list[tuple[str, Cron, float]]:
    """Every cron with its owner and its next moment."""
    rows = store.db.execute("SELECT owner, cron, next FROM crons ORDER BY next")
    return [(owner, msgspec.msgpack.decode(raw, type=Cron), at) for owner, raw, at in rows]


def _events(store: Store, number: int) -> list[Kept]:
    query = "SELECT offset, kind, data, at, terminal FROM events WHERE stream = ? ORDER BY offset"
    rows = store.db.execute(query, (number,))
    return [(offset, kind, data, at, bool(terminal)) for offset, kind, data, at, terminal in rows]
