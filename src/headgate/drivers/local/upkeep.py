"""What time brings: jobs fall due, deadlines pass, leases and records expire."""

from __future__ import annotations

from typing import Final

from headgate.base import lifecycle
from headgate.drivers.local import claims, crons, forks, keys, lookup, retention, streams
from headgate.drivers.local.rows import SELECT, Row, carry_out
from headgate.drivers.local.schema import QUEUED, SCHEDULED
from headgate.drivers.local.store import Store

REMEMBERED: Final = 600.0
"""Seconds that an append is remembered: longer than any client repeats one."""
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
    """Forget ended jobs and idle streams whose time to live is over, and appends that nobody repeats any more."""
    query = "SELECT seq, queue, state FROM jobs WHERE expires IS NOT NULL AND expires <= ? LIMIT ?"
    forgotten = lookup.forget(store, store.db.execute(query, (store.now, AT_ONCE)).fetchall())
    gone, aged = forks.expire(store, AT_ONCE), _age(store)
    query = "DELETE FROM appends WHERE token IN (SELECT token FROM appends WHERE at <= ? LIMIT ?)"
    appends = store.db.execute(query, (store.now - REMEMBERED, AT_ONCE)).rowcount
    return max(forgotten, gone, aged, appends)


def _age(store: Store) -> int:
    """Give up events that are older than their stream keeps them."""
    query = "SELECT seq, name FROM streams WHERE age_due <= ? LIMIT ?"
    rows = store.db.execute(query, (store.now, AT_ONCE)).fetchall()
    for number, name in rows:
        place = streams.find(store, name)
        seconds = retention.of_stream(store, place.state.spec.retention).seconds if place is not None else 0.0
        due = retention.age(store, number, seconds) if seconds else None
        store.db.execute("UPDATE streams SET age_due = ? WHERE seq = ?", (due, number))
    return len(rows)
