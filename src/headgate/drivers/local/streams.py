"""Streams: a job's, numbered and ended with the job, and those of user code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from headgate.base import streams as rules
from headgate.base.errors import BadOffset, StreamConflict, StreamEnded, StreamError, UnknownStream
from headgate.base.model import Batch, Event, NewEvent
from headgate.base.streams import Outcome, StreamInfo, StreamSpec, StreamState, Write, Written
from headgate.drivers.embedded.wire import PAGE_BYTES
from headgate.drivers.local import forks, retention
from headgate.drivers.local.rows import write_events
from headgate.drivers.local.store import Store

PREFIX: Final = "jobs/"
"""Streams under it belong to jobs; user code cannot append to them."""
_state: msgspec.msgpack.Decoder[StreamState] = msgspec.msgpack.Decoder(StreamState)
_PLAIN: Final = StreamState()


class Place(NamedTuple):
    """Where a stream is and how far it has come."""

    number: int
    last: int
    ended: bool
    state: StreamState = _PLAIN

    @property
    def tail(self) -> int:
        """The last offset that carries data."""
        return self.last - 1 if self.state.bare_end else self.last

    def info(self, name: str) -> StreamInfo:
        deleted = self.state.deleted
        return StreamInfo(
            stream=name, made=self.number, spec=self.state.spec, last=self.tail, ended=self.ended, deleted=deleted
        )


def find(store: Store, name: str) -> Place | None:
    """The stream, if it is there: deleted ones that are kept for others are, too."""
    if name.startswith(PREFIX):
        query = "SELECT seq, last, state > 2 FROM jobs WHERE id = ?"
        row = store.db.execute(query, (name[len(PREFIX) :],)).fetchone()
        return None if row is None else Place(row[0], row[1], bool(row[2]))
    query = "SELECT seq, last, ended, state FROM streams WHERE name = ? AND (expires IS NULL OR expires > ?)"
    row = store.db.execute(query, (name, store.now)).fetchone()
    if row is None:
        return None
    return Place(row[0], row[1], bool(row[2]), _PLAIN if row[3] is None else _state.decode(row[3]))


def append(store: Store, name: str, events: Sequence[NewEvent], token: bytes = b"") -> int:
    """Append to a stream of user code, which the first append makes; returns the last offset.

    Args:
        token: of this append; one that is known has been carried out, and its answer got lost.

    Raises:
        StreamEnded: after its terminal record.
        StreamError: the name is that of a job's stream.
    """
    done = write(store, name, Write(events=events, spec=StreamSpec()), token)
    if done.outcome is not Outcome.APPENDED:
        raise StreamEnded(f"stream {name} has ended; nothing can be appended to it")
    return done.last


def write(store: Store, name: str, asked: Write, token: bytes = b"") -> Written:
    """Append under conditions; see `base.streams.judge`.

    Args:
        token: of this write; one that is known has been carried out, and its answer got lost.

    Raises:
        UnknownStream: there is none, and the write does not make it.
        StreamError: the name is that of a job's stream.
    """
    if name.startswith(PREFIX):
        raise StreamError(f"{name} is a job's stream: only the job itself appends to it, by progress and log")
    if token and (known := store.db.execute("SELECT last FROM appends WHERE token = ?", (token,)).fetchone()):
        return Written(outcome=Outcome.APPENDED, last=int(known[0]), ended=asked.close)
    place = find(store, name)
    if place is None and asked.spec is not None:
        place = _insert(store, name, asked.spec)
    if place is None or place.state.deleted:
        raise _unknown(name)
    done = _write(store, name, place, asked)
    if token and done.outcome is Outcome.APPENDED:
        store.db.execute("INSERT INTO appends VALUES (?, ?, ?)", (token, done.last, store.now))
    return done


def create(store: Store, name: str, spec: StreamSpec, asked: Write | None) -> tuple[StreamInfo, bool]:
    """Make a stream with its first events, unless it is there.

    Raises:
        UnknownStream, StreamConflict, BadOffset: it cannot begin as asked.
        StreamError: the name is that of a job's stream.
    """
    if name.startswith(PREFIX):
        raise StreamError(f"{name} is the name of a job's stream, which is made by enqueueing a job")
    place = find(store, name)
    if place is not None:
        if place.state.deleted:
            raise StreamConflict(f"stream {name} was deleted and is kept for the streams that began with its events")
        return place.info(name), False
    spec, source = _source(store, spec)
    place = _insert(store, name, spec, None if source is None else source.number)
    if source is not None:
        upto = source.tail if spec.source_offset is None else spec.source_offset
        place = place._replace(last=forks.copy(store, source, place.number, upto, spec))
        store.db.execute("UPDATE streams SET last = ? WHERE seq = ?", (place.last, place.number))
    if asked is not None and (asked.events or asked.close):
        _write(store, name, place, asked)
    made = find(store, name)
    # A ttl of zero ends with the transaction: it was there, and is told of as such.
    return (made or place).info(name), True


def info(store: Store, name: str, touch: bool) -> StreamInfo | None:
    """What is known of a stream; `touch` begins its time to live anew."""
    place = find(store, name)
    if place is None:
        return None
    if touch and place.state.spec.ttl is not None and not place.state.deleted:
        _expire_later(store, place)
    return place.info(name)


def delete(store: Store, name: str) -> None:
    """Forget a stream, or hide it while others need it.

    Raises:
        UnknownStream: there is none, or it is hidden already.
        StreamError: the name is that of a job's stream.
    """
    if name.startswith(PREFIX):
        raise StreamError(f"{name} is a job's stream and goes with its job: `headgate jobs purge`")
    place = find(store, name)
    if place is None or place.state.deleted:
        raise _unknown(name)
    forks.remove(store, place.number, name, place.last, place.state)


def read(store: Store, name: str, after: int, most: int) -> Batch:
    """Events after an offset, as they are stored (their data is `msgspec.Raw`); no more than `PAGE_BYTES` of them.

    Raises:
        UnknownStream, BadOffset.
    """
    return page(store, name, after, most)[0]


def page(store: Store, name: str, after: int, most: int) -> tuple[Batch, bool]:
    """As `read`, and whether nothing is left behind the page now. Raises `UnknownStream`, `BadOffset`."""
    place = find(store, name)
    if place is None or place.state.deleted:
        raise _unknown(name)
    after = max(after, 0)
    if after > place.last:
        raise BadOffset(
            f"stream {name} ends at {place.last}, and was to be read after {after}: it was made anew, or the offset "
            "is another stream's. Read it from its start"
        )
    events = _events(store, place.number, after, most)
    reached = events[-1].offset if events else place.last
    first = events[0].offset if events else place.last + 1
    truncated = None
    if first > after + 1:
        truncated = f"events up to {first - 1} are out of retention: {retention.reason(store, place.number)}"
    whole = reached >= place.last
    return Batch(events, reached, place.ended and whole, truncated, more=not whole), whole


def _events(store: Store, number: int, after: int, most: int) -> list[Event]:
    rows = store.db.execute(
        "SELECT offset, kind, data, at, terminal FROM events WHERE stream = ? AND offset > ? ORDER BY offset LIMIT ?",
        (number, after, most),
    )
    events, size = list[Event](), 0
    for offset, kind, data, at, terminal in rows:
        size += len(data)
        if events and size > PAGE_BYTES:
            break
        events.append(Event(offset, kind, msgspec.Raw(data), at, bool(terminal)))
    return events


def _write(store: Store, name: str, place: Place, asked: Write) -> Written:
    producer, known = asked.producer, None
    if producer is not None:
        query = "SELECT epoch, last FROM producers WHERE stream = ? AND producer = ?"
        known = store.db.execute(query, (place.number, producer.id)).fetchone()
    outcome = rules.judge(place.state, place.ended, known, asked)
    if outcome is Outcome.DUPLICATE and place.state.spec.ttl is not None:
        _expire_later(store, place)
    if outcome is not Outcome.APPENDED:
        epoch, seq = known or (0, -1)
        return Written(outcome=outcome, last=place.tail, ended=place.ended, epoch=epoch, seq=seq)
    place = _append(store, name, place, asked)
    if producer is None:
        return Written(outcome=outcome, last=place.tail, ended=place.ended)
    _remember(store, place.number, producer)
    return Written(outcome=outcome, last=place.tail, ended=place.ended, epoch=producer.epoch, seq=producer.seq)


def _append(store: Store, name: str, place: Place, asked: Write) -> Place:
    events = rules.closing(asked)
    last = write_events(store, place.number, name, place.last, events)
    ended = any(event.terminal for event in events)
    state = rules.after(place.state, asked, events)
    expires = rules.expiry(state.spec, store.now, store.limits.stream_ttl)
    bounds = retention.of_stream(store, state.spec.retention)
    store.db.execute(
        "UPDATE streams SET last = ?, ended = ?, expires = ?, age_due = coalesce(age_due, ?) WHERE seq = ?",
        (last, ended, expires, store.now + bounds.seconds if bounds.seconds else None, place.number),
    )
    if state != place.state:
        store.db.execute("UPDATE streams SET state = ? WHERE seq = ?", (msgspec.msgpack.encode(state), place.number))
    retention.trim(store, place.number, place.last, last, bounds)
    return Place(place.number, last, ended, state)


def _insert(store: Store, name: str, spec: StreamSpec, source: int | None = None) -> Place:
    forks.forget(store, "name = ?", name)  # one whose time is over, and that no look around has removed yet
    number, state = store.numbers(1), StreamState(spec=spec)
    expires = rules.expiry(spec, store.now, store.limits.stream_ttl)
    packed = None if state == _PLAIN else msgspec.msgpack.encode(state)
    store.db.execute(
        "INSERT INTO streams (seq, name, last, expires, state, source) VALUES (?, ?, 0, ?, ?, ?)",
        (number, name, expires, packed, source),
    )
    return Place(number, 0, False, state)


def _source(store: Store, spec: StreamSpec) -> tuple[StreamSpec, Place | None]:
    """The stream that a new one begins with, and what it inherits."""
    if spec.source is None:
        return spec, None
    source = find(store, spec.source)
    if source is None or spec.source.startswith(PREFIX):
        raise UnknownStream(f"there is no stream {spec.source} to begin with")
    if source.state.deleted:
        raise StreamConflict(f"stream {spec.source} was deleted; nothing can begin with it any more")
    given = source.state.spec
    if spec.content_type and rules.media_type(spec.content_type) != rules.media_type(given.content_type):
        raise StreamConflict(f"stream {spec.source} has the content type {given.content_type}")
    if spec.source_offset is not None and spec.source_offset > source.tail:
        raise BadOffset(f"stream {spec.source} ends at {source.tail}")
    ttl, expires = spec.ttl, spec.expires_at
    if ttl is None and expires is None:
        ttl, expires = given.ttl, given.expires_at
    return msgspec.structs.replace(spec, content_type=given.content_type, ttl=ttl, expires_at=expires), source


def _expire_later(store: Store, place: Place) -> None:
    expires = rules.expiry(place.state.spec, store.now, store.limits.stream_ttl)
    store.db.execute("UPDATE streams SET expires = ? WHERE seq = ?", (expires, place.number))


def _remember(store: Store, number: int, producer: rules.Producer) -> None:
    done = store.db.execute(
        "INSERT INTO producers VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET epoch = excluded.epoch,"
        " last = excluded.last, at = excluded.at",
        (number, producer.id, producer.epoch, producer.seq, store.now),
    )
    if producer.seq == 0 and done.rowcount:
        store.db.execute(
            "DELETE FROM producers WHERE stream = ?1 AND producer IN (SELECT producer FROM producers WHERE stream = ?1"
            " ORDER BY at DESC LIMIT -1 OFFSET ?2)",
            (number, rules.MOST_PRODUCERS),
        )


def _unknown(name: str) -> UnknownStream:
    return UnknownStream(f"there is no stream {name}: nothing was ever appended to it, or its time is over")
