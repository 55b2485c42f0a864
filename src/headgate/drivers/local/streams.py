"""Streams: a job's, numbered and ended with the job, and those of user code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from headgate.base.errors import StreamEnded, StreamError, UnknownStream
from headgate.base.model import Batch, Event, NewEvent
from headgate.drivers.local.claims import trim
from headgate.drivers.local.rows import write_events
from headgate.drivers.local.store import Store

PREFIX = "jobs/"
"""Streams under it belong to jobs; user code cannot append to them."""


class Place(NamedTuple):
    """Where a stream is and how far it has come."""

    number: int
    last: int
    ended: bool


def find(store: Store, name: str) -> Place | None:
    if name.startswith(PREFIX):
        query = "SELECT seq, last, state > 2 FROM jobs WHERE id = ?"
        row = store.db.execute(query, (name[len(PREFIX) :],)).fetchone()
    else:
        row = store.db.execute("SELECT seq, last, ended FROM streams WHERE name = ?", (name,)).fetchone()
    return None if row is None else Place(row[0], row[1], bool(row[2]))


def append(store: Store, name: str, events: Sequence[NewEvent]) -> int:
    """Append to a stream of user code, which the first append makes; returns the last offset.

    Raises:
        StreamEnded: after its terminal record.
        StreamError: the name is that of a job's stream.
    """
    if name.startswith(PREFIX):
        raise StreamError(f"{name} is a job's stream: only the job itself appends to it, by progress and log")
    place = find(store, name)
    if place is None:
        place = Place(store.numbers(1), 0, False)
        store.db.execute("INSERT INTO streams (seq, name, last) VALUES (?, ?, 0)", (place.number, name))
    if place.ended:
        raise StreamEnded(f"stream {name} has ended; nothing can be appended to it")
    last = write_events(store, place.number, name, place.last, events)
    ended = any(event.terminal for event in events)
    store.db.execute(
        "UPDATE streams SET last = ?, ended = ?, expires = ? WHERE seq = ?",
        (last, ended, store.now + store.limits.stream_ttl, place.number),
    )
    trim(store, place.number, last)
    return last


def read(store: Store, name: str, after: int, most: int) -> Batch:
    """Events after an offset, as they are stored (their data is `msgspec.Raw`).

    Raises:
        UnknownStream.
    """
    place = find(store, name)
    if place is None:
        raise UnknownStream(f"there is no stream {name}: nothing was ever appended to it, or its time is over")
    rows = store.db.execute(
        "SELECT offset, kind, data, at, terminal FROM events WHERE stream = ? AND offset > ? ORDER BY offset LIMIT ?",
        (place.number, after, most),
    )
    events = [Event(offset, kind, msgspec.Raw(data), at, bool(terminal)) for offset, kind, data, at, terminal in rows]
    after = max(after, 0)
    reached = events[-1].offset if events else max(after, place.last)
    gone = events[0].offset > after + 1 if events else after < place.last
    truncated = f"events up to {events[0].offset - 1 if events else place.last} are out of retention" if gone else None
    return Batch(events, reached, place.ended and reached >= place.last, truncated)
