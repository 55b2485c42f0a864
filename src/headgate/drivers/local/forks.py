"""Streams that begin with another's events, and how streams go: one that others began with is hidden, not forgotten."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from headgate.base.errors import BadOffset
from headgate.base.model import Event
from headgate.base.streams import JSON, StreamSpec, StreamState
from headgate.drivers.local.store import Store, pack


class Source(Protocol):
    """A stream that another one begins with."""

    @property
    def number(self) -> int: ...

    @property
    def tail(self) -> int: ...


def copy(store: Store, source: Source, number: int, upto: int, spec: StreamSpec) -> int:
    """Give a new stream the events of its source; returns its last offset.

    The events are copied, so that neither stream's retention bears on the other.

    Raises:
        BadOffset: `source_part` goes beyond what comes after the offset.
    """
    part = spec.source_part
    if part and spec.content_type == JSON:
        if upto + part > source.tail:
            raise BadOffset(f"there are {source.tail - upto} messages after the offset, and {part} were asked for")
        upto, part = upto + part, 0
    store.db.execute(
        "INSERT INTO events SELECT ?, offset, kind, data, at, 0 FROM events WHERE stream = ? AND offset <= ?",
        (number, source.number, upto),
    )
    if not part:
        return upto
    query = "SELECT kind, data, at FROM events WHERE stream = ? AND offset = ?"
    row = store.db.execute(query, (source.number, upto + 1)).fetchone()
    data = b"" if row is None else msgspec.msgpack.decode(row[1])
    if not isinstance(data, bytes) or part > len(data):
        raise BadOffset(f"what comes after the offset has not {part} bytes")
    store.db.execute(
        "INSERT INTO events VALUES (?, ?, ?, ?, ?, 0)", (number, upto + 1, row[0], pack(data[:part]), row[2])
    )
    return upto + 1


def remove(store: Store, number: int, name: str, last: int, state: StreamState) -> None:
    """Forget a stream, or hide it while others began with its events; followers are told."""
    _tell_gone(store, name, last, "the stream was deleted")
    if store.db.execute("SELECT 1 FROM streams WHERE source = ?", (number,)).fetchone() is None:
        forget(store, "seq = ?", number)
        return
    hidden = msgspec.msgpack.encode(msgspec.structs.replace(state, deleted=True))
    store.db.execute("UPDATE streams SET state = ?, expires = NULL WHERE seq = ?", (hidden, number))
    store.db.execute("DELETE FROM events WHERE stream = ?", (number,))


def expire(store: Store, most: int) -> int:
    """Forget streams whose time is over, and tell their followers; returns how many."""
    query = "SELECT seq, name, last FROM streams WHERE expires IS NOT NULL AND expires <= ? LIMIT ?"
    rows = store.db.execute(query, (store.now, most)).fetchall()
    for number, name, last in rows:
        _tell_gone(store, name, last, "its time to live is over")
        forget(store, "seq = ?", number)
    return len(rows)


def forget(store: Store, which: str, value: Any) -> None:
    """Delete streams with all that belongs to them, and hidden sources that nobody needs any more."""
    for number, source in store.db.execute(f"SELECT seq, source FROM streams WHERE {which}", (value,)).fetchall():
        for table, column in (("events", "stream"), ("producers", "stream"), ("cuts", "stream"), ("streams", "seq")):
            store.db.execute(f"DELETE FROM {table} WHERE {column} = ?", (number,))
        if source is not None:
            _forget_hidden(store, source)


def _forget_hidden(store: Store, number: int) -> None:
    row = store.db.execute("SELECT state FROM streams WHERE seq = ?", (number,)).fetchone()
    if row is None or row[0] is None or not msgspec.msgpack.decode(row[0], type=StreamState).deleted:
        return
    if store.db.execute("SELECT 1 FROM streams WHERE source = ?", (number,)).fetchone() is None:
        forget(store, "seq = ?", number)


def _tell_gone(store: Store, name: str, last: int, reason: str) -> None:
    # Not stored: only who follows now hears it; others find that there is no such stream.
    gone = Event(last + 1, "gone", msgspec.Raw(pack({"reason": reason})), store.now, terminal=True)
    store.changes.events[name].append(gone)
