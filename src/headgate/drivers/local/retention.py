"""What is kept of a stream: so many events, so many bytes, so long. What goes is noted with the reason."""

from __future__ import annotations

from typing import Final, NamedTuple

from headgate.base.streams import Retention
from headgate.drivers.local.store import Store

LOOK: Final = 64
"""Events between two looks at a stream's bytes."""


class Bounds(NamedTuple):
    """The bounds of one stream; 0 is none."""

    events: int
    bytes: int
    seconds: float


def of_job(store: Store) -> Bounds:
    """The bounds of a job's stream; its time is the job's `result_ttl`."""
    return Bounds(store.limits.job_stream_events, store.limits.job_stream_bytes, 0.0)


def of_stream(store: Store, asked: Retention) -> Bounds:
    """The bounds of a stream of user code, where it does not name its own."""
    limits = store.limits
    return Bounds(
        limits.stream_events if asked.events is None else asked.events,
        limits.stream_bytes if asked.bytes is None else asked.bytes,
        limits.stream_age if asked.seconds is None else asked.seconds,
    )


def trim(store: Store, number: int, before: int, last: int, bounds: Bounds, added: int = 0) -> None:
    """Keep a stream within its bounds after an append.

    The work is not done at each append: events may be a tenth over, bytes by what `LOOK` events hold.

    Args:
        before, last: its last offset before and after the append.
        added: bytes that were appended.
    """
    step = max(1, bounds.events // 10)
    if bounds.events and last > bounds.events and before // step != last // step:
        cut(store, number, last - bounds.events, f"the stream keeps {bounds.events} events")
    if bounds.bytes and (before // LOOK != last // LOOK or added > bounds.bytes // LOOK):
        _trim_bytes(store, number, bounds.bytes)


def age(store: Store, number: int, seconds: float) -> float | None:
    """Give up what is older than `seconds`; returns when the next event will be, None while there is none."""
    query = "SELECT max(offset) FROM events WHERE stream = ? AND at <= ?"
    (upto,) = store.db.execute(query, (number, store.now - seconds)).fetchone()
    if upto is not None:
        cut(store, number, upto, f"the stream keeps events for {seconds:g} s")
    query = "SELECT at FROM events WHERE stream = ? ORDER BY offset LIMIT 1"
    oldest = store.db.execute(query, (number,)).fetchone()
    return None if oldest is None else float(oldest[0]) + seconds


def cut(store: Store, number: int, upto: int, reason: str) -> None:
    """Give up all events up to an offset."""
    found = store.db.execute("DELETE FROM events WHERE stream = ? AND offset <= ?", (number, upto))
    if found.rowcount:
        store.db.execute("INSERT OR REPLACE INTO cuts VALUES (?, ?)", (number, reason))


def reason(store: Store, number: int) -> str:
    """Why the beginning of a stream is gone."""
    row = store.db.execute("SELECT reason FROM cuts WHERE stream = ?", (number,)).fetchone()
    return "its bounds were reached" if row is None else str(row[0])


def _trim_bytes(store: Store, number: int, most: int) -> None:
    kept = 0
    rows = store.db.execute("SELECT offset, length(data) FROM events WHERE stream = ? ORDER BY offset DESC", (number,))
    for index, (offset, size) in enumerate(rows):
        kept += size
        if kept > most and index:  # the newest stays, whatever its size
            cut(store, number, offset, f"the stream keeps {most} bytes")
            return
