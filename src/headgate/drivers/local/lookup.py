"""What operators and views ask: find, cancel, revive, purge, count."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Sequence
from typing import Any

from headgate.base import lifecycle
from headgate.base.model import JobRecord, JobState
from headgate.drivers.local import waits
from headgate.drivers.local.rows import BRIEF, NUMBER, STATE, Row, carry_out, known
from headgate.drivers.local.store import Store


def find(
    store: Store,
    states: Sequence[JobState],
    queue: str | None,
    tag: str | None,
    function: str | None,
    after: str | None,
    most: int,
) -> list[JobRecord]:
    """Newest first, briefly. One query per state, so that each can use the index of its state."""
    where, values = ["1"], list[Any]()
    for column, wanted in (("j.queue", queue), ("j.function", function)):
        if wanted is not None:
            where.append(f"{column} = ?")
            values.append(wanted)
    if tag is not None:
        where.append("j.seq IN (SELECT seq FROM tags WHERE tag = ?)")
        values.append(tag)
    if after is not None:
        where.append("j.seq < ?")
        values.append(known(store, after).seq)
    tail = " AND ".join(where) + " ORDER BY j.seq DESC LIMIT ?"
    found: list[Row] = []
    for state in [f"j.state = {NUMBER[state]} AND " for state in states] or [""]:
        found += map(Row._make, store.db.execute(f"{BRIEF}WHERE {state}{tail}", (*values, most)))
    return [row.brief() for row in heapq.nlargest(most, found, key=lambda row: row.seq)]


def cancel(store: Store, job_id: str) -> JobState:
    """Cancel a waiting job, or ask a running one to end.

    Raises:
        UnknownJob, WrongState.
    """
    row = known(store, job_id)
    spec = row.decoded()
    step = lifecycle.cancelled(row.standing(spec))
    if step is not None:
        carry_out(store, row, spec, step)
        return step.state
    store.db.execute("UPDATE jobs SET cancel_requested = 1 WHERE seq = ?", (row.seq,))
    store.changes.cancels.add(job_id)
    return JobState.RUNNING


def revive(store: Store, job_id: str) -> JobState:
    """Put a failed or cancelled job back, its counts anew. Its stream goes on behind what was its last event.

    One that was to run after another which has not ended waits for it again.

    Raises:
        UnknownJob, WrongState.
    """
    row = known(store, job_id)
    spec = row.decoded()
    step = lifecycle.revived(row.standing(spec))
    if waits.waits(store, row.seq):
        step = dataclasses.replace(step, state=JobState.SCHEDULED)
    store.db.execute("UPDATE events SET terminal = 0 WHERE stream = ? AND terminal = 1", (row.seq,))
    store.db.execute("UPDATE jobs SET cancel_requested = 0 WHERE seq = ?", (row.seq,))
    carry_out(store, row._replace(tries=0, cancel_requested=0), spec, step)
    return step.state


def stats(store: Store) -> dict[str, dict[str, int]]:
    """Counts by queue and state."""
    counted: dict[str, dict[str, int]] = {}
    for queue, number in sorted({*store.counts, *store.changes.counts}):
        count = store.count(queue, number)
        if count > 0:
            counted.setdefault(queue, {})[STATE[number].value] = count
    return counted


def purge(store: Store, states: Sequence[JobState], queue: str | None, before: float, most: int) -> int:
    """Forget ended jobs that ended before a moment; returns how many."""
    numbers = [NUMBER[state] for state in states if state.terminal]
    chosen = ", ".join(map(str, numbers)) or "-1"
    query = f"SELECT seq, queue, state FROM jobs WHERE state IN ({chosen}) AND finished_at <= ?"
    values: list[Any] = [before]
    if queue is not None:
        query += " AND queue = ?"
        values.append(queue)
    return forget(store, store.db.execute(query + " LIMIT ?", (*values, most)).fetchall())


_PARTS = (
    ("events", "stream"),
    ("cuts", "stream"),
    ("specs", "seq"),
    ("tags", "seq"),
    ("waits", "seq"),
    ("jobs", "seq"),
)


def forget(store: Store, rows: Sequence[tuple[int, str, int]]) -> int:
    """Delete jobs (seq, queue, state) with all that belongs to them."""
    seqs = [(seq,) for seq, _, _ in rows]
    for table, column in _PARTS:
        store.db.executemany(f"DELETE FROM {table} WHERE {column} = ?", seqs)
    for _, queue, state in rows:
        store.changes.counts[queue, state] -= 1
    return len(rows)
