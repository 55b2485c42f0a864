"""What time brings: jobs fall due, deadlines pass, leases and records expire."""

from __future__ import annotations

from typing import Final

from headgate.base import lifecycle
from headgate.drivers.local import claims, crons, keys, lookup
from headgate.drivers.local.rows import SELECT, Row, carry_out
from headgate.drivers.local.schema import QUEUED, SCHEDULED
from headgate.drivers.local.store import Store

AT_ONCE: Final = 500
"""Rows handled in one turn, so that a flood does not hold up everybody's commit."""


def turn(store: Store) -> bool:
    """Do what is due now; True if there may be more of it."""
    done = (crons.fire(store), promote(store), overdue(store), claims.expire(store), prune(store))
    for query in ("SELECT min(due) FROM jobs WHERE state = 0", "SELECT min(next) FROM crons"):
        (following,) = store.db.execute(query).fetchone()
        if following is not None:
            store.changes.falls_due(following)
    return max(done) >= AT_ONCE


def promote(store: Store) -> int:
    """Scheduled jobs whose time has come become queued."""
    query = "SELECT seq, queue, key, key_limit FROM jobs WHERE state = 0 AND due <= ? ORDER BY due LIMIT ?"
    rows = store.db.execute(query, (store.now, AT_ONCE)).fetchall()
    store.db.executemany("UPDATE jobs SET state = 1, due = NULL WHERE seq = ?", [(row[0],) for row in rows])
    for seq, queue, key, limit in rows:
        store.changes.counts[queue, SCHEDULED] -= 1
        store.changes.counts[queue, QUEUED] += 1
        store.changes.ready = True
        if key is not None:
            keys.entered(store, seq, key, limit)
    return len(rows)


def overdue(store: Store) -> int:
    """Waiting jobs whose deadline has passed fail with that reason."""
    query = SELECT + "WHERE j.state <= 1 AND j.deadline IS NOT NULL AND j.deadline < ? LIMIT ?"
    rows = [Row._make(row) for row in store.db.execute(query, (store.now, AT_ONCE))]
    for row in rows:
        spec = row.decoded()
        carry_out(store, row, spec, lifecycle.overdue(row.standing(spec)))
    return len(rows)


def prune(store: Store) -> int:
    """Forget ended jobs and idle streams whose time to live is over."""
    query = "SELECT seq, queue, state FROM jobs WHERE expires IS NOT NULL AND expires <= ? LIMIT ?"
    forgotten = lookup.forget(store, store.db.execute(query, (store.now, AT_ONCE)).fetchall())
    query = "SELECT seq FROM streams WHERE expires IS NOT NULL AND expires <= ? LIMIT ?"
    streams = store.db.execute(query, (store.now, AT_ONCE)).fetchall()
    store.db.executemany("DELETE FROM events WHERE stream = ?", streams)
    store.db.executemany("DELETE FROM streams WHERE seq = ?", streams)
    return max(forgotten, len(streams))
