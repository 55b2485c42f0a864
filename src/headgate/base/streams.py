"""Streams and their rules: how one is made, what an append does to it, and how long its events are kept. Pure.

The rules of appending are those of the Durable Streams protocol (§5.1, §5.2), so that its HTTP face and user code
share one mechanism. Engines store; `judge` decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from headgate.base.model import NewEvent

MESSAGE: Final = "message"
"""The kind of an event that is nothing but its data."""
CLOSED: Final = "closed"
"""The kind of a terminal record that only ends a stream and carries no data."""
TOLD: Final = frozenset(["gone", "truncated"])
"""Kinds by which readers are told of an end or a gap: no event that is appended has them."""
JSON: Final = "application/json"
MOST_PRODUCERS: Final = 1_000
"""Producers remembered of one stream; beyond that the one that was silent longest is forgotten."""
CHANNEL: Final = "channels/"
"""Streams under it hold the history of channels."""


class Retention(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of one stream; None means the engine's default for its kind."""

    events: int | None = None
    bytes: int | None = None
    """Of all kept events together, as they are stored."""
    seconds: float | None = None
    """Older events are given up."""


class StreamSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a stream is made."""

    content_type: str = JSON
    ttl: float | None = None
    """Seconds without a read or an append after which it is forgotten."""
    expires_at: float | None = None
    """The moment at which it is forgotten, whatever happens."""
    retention: Retention = Retention()
    source: str | None = None
    """It begins with the events of that stream …"""
    source_offset: int | None = None
    """… up to this offset (None: all), …"""
    source_part: int = 0
    """… and so many bytes of the one after it; of a JSON stream: so many messages after it."""


class StreamInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a stream."""

    stream: str
    made: int
    """Another number when a stream of the same name is made anew."""
    spec: StreamSpec
    last: int
    """The offset of the last event that carries data; 0 for none."""
    ended: bool = False
    deleted: bool = False
    """It was deleted, and is only kept for the streams that began with its events."""


class Producer(msgspec.Struct, frozen=True):
    """Who appends, and which of its appends this is: one that is repeated is not appended twice.

    `epoch` grows when a producer begins anew; what still comes of an older epoch is refused. `seq` counts
    its appends in this epoch from 0.
    """

    id: str
    epoch: int
    seq: int


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """An append and its conditions."""

    events: Sequence[NewEvent] = ()
    close: bool = False
    """End the stream, with the last of the events or without any."""
    content_type: str | None = None
    """Must be that of the stream, if given."""
    producer: Producer | None = None
    seq: str | None = None
    """Must be greater (byte by byte) than that of the append before; scope: the stream."""
    spec: StreamSpec | None = None
    """Makes the stream if there is none; None: it must be there."""


class Outcome(StrEnum):
    """What became of a write."""

    APPENDED = "appended"
    DUPLICATE = "duplicate"
    """It was appended before."""
    STALE = "stale"
    """A later epoch of its producer has begun."""
    GAP = "gap"
    """An append of its producer before it has not arrived."""
    BAD_START = "bad_start"
    """A new epoch does not begin with 0."""
    ENDED = "ended"
    MISMATCH = "mismatch"
    """The content type is not the stream's."""
    BEHIND = "behind"
    """Its `seq` is not greater than the last one."""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a write. `epoch` and `seq` are what is known of its producer afterwards."""

    outcome: Outcome
    last: int
    ended: bool
    epoch: int = 0
    seq: int = -1


class StreamState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an engine stores of a stream beside its events and producers."""

    spec: StreamSpec = StreamSpec()
    seq: str | None = None
    closed_by: Producer | None = None
    bare_end: bool = False
    """Its terminal record carries no data."""
    deleted: bool = False


def judge(state: StreamState, ended: bool, known: tuple[int, int] | None, write: Write) -> Outcome:
    """What becomes of a write.

    Args:
        known: epoch and seq of the producer's last accepted append, None if it never made one.
    """
    producer = write.producer
    if producer is not None and known is not None and producer.epoch < known[0]:
        return Outcome.STALE
    if ended:
        return _to_ended(state, write)
    kind = write.content_type
    if write.events and kind is not None and media_type(kind) != media_type(state.spec.content_type):
        return Outcome.MISMATCH
    if producer is not None and (verdict := _sequence(producer, known)) is not None:
        return verdict
    if write.seq is not None and state.seq is not None and write.seq.encode() <= state.seq.encode():
        return Outcome.BEHIND
    return Outcome.APPENDED


def _to_ended(state: StreamState, write: Write) -> Outcome:
    if write.producer is not None:
        return Outcome.DUPLICATE if write.producer == state.closed_by else Outcome.ENDED
    return Outcome.DUPLICATE if write.close and not write.events else Outcome.ENDED


def _sequence(producer: Producer, known: tuple[int, int] | None) -> Outcome | None:
    if known is None:
        return None if producer.seq == 0 else Outcome.GAP
    epoch, seq = known
    if producer.epoch > epoch:
        return None if producer.seq == 0 else Outcome.BAD_START
    if producer.seq <= seq:
        return Outcome.DUPLICATE
    return None if producer.seq == seq + 1 else Outcome.GAP


def closing(write: Write) -> list[NewEvent]:
    """The events of a write as they are stored: the last one is terminal if the write closes the stream."""
    events = list(write.events)
    if not write.close:
        return events
    if not events:
        return [NewEvent(CLOSED, None, terminal=True)]
    return [*events[:-1], msgspec.structs.replace(events[-1], terminal=True)]


def after(state: StreamState, write: Write, events: Sequence[NewEvent]) -> StreamState:
    """The state after a write that was appended as `events`."""
    ended = bool(events) and events[-1].terminal
    return msgspec.structs.replace(
        state,
        seq=write.seq if write.seq is not None else state.seq,
        closed_by=write.producer if ended else state.closed_by,
        bare_end=ended and events[-1].kind == CLOSED,
    )


def expiry(spec: StreamSpec, now: float, idle: float) -> float:
    """When a stream that was touched now is forgotten, unless it is touched again; `idle` is the default ttl."""
    if spec.expires_at is not None:
        return spec.expires_at
    return now + (idle if spec.ttl is None else spec.ttl)


def media_type(content_type: str) -> str:
    """A content type without its parameters, in lower case: what has to match."""
    return content_type.partition(";")[0].strip().lower()


def channel_stream(channel: str) -> str:
    """The name of the stream that holds a channel's history."""
    return CHANNEL + channel
