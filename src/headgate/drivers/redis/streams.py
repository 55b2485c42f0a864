"""Streams of user code: `base.streams` decides what becomes of a write; it is committed if nobody wrote meanwhile."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from headgate.base import streams as rules
from headgate.base.errors import BadOffset, StreamConflict, StreamEnded, StreamError, Unavailable, UnknownStream
from headgate.base.model import Batch, NewEvent
from headgate.base.streams import Outcome, StreamInfo, StreamSpec, StreamState, Write, Written
from headgate.drivers.embedded.caller import PATIENCE
from headgate.drivers.local.store import Limits
from headgate.drivers.redis.records import entries, pack, plain

PREFIX: Final = "jobs/"
"""Streams under it belong to jobs; user code cannot append to them."""
PAGE_BYTES: Final = 2 << 20
"""Bytes after which a page of events ends. Replies share their connection with messages, and for such connections the
server keeps its client-output-buffer-limit pubsub: 32 MiB by default, then it hangs up."""
ATTEMPTS: Final = 100
"""How often a write is decided anew because another one came first."""

_state: msgspec.msgpack.Decoder[StreamState] = msgspec.msgpack.Decoder(StreamState)


class Seen(NamedTuple):
    """A stream as a decision found it."""

    version: int
    last: int
    ended: bool
    made: int
    state: StreamState
    now: float
    known: tuple[int, int] | None = None
    """Epoch and seq of the producer that was asked for."""

    @property
    def tail(self) -> int:
        """The last offset that carries data."""
        return self.last - 1 if self.state.bare_end else self.last

    def info(self, name: str) -> StreamInfo:
        return StreamInfo(
            stream=name,
            made=self.made,
            spec=self.state.spec,
            last=self.tail,
            ended=self.ended,
            deleted=self.state.deleted,
        )


class StreamKeeper:
    """The streams of one Redis.

    Args:
        run: runs an operation.
        limits: bounds where a stream does not name its own.
    """

    def __init__(self, run: Callable[..., Awaitable[Any]], limits: Limits) -> None:
        self._run = run
        self._limits = limits

    async def append(self, name: str, events: Sequence[NewEvent], token: bytes) -> int:
        """Append; see `Streams.append`."""
        done = await self.write(name, Write(events=events, spec=StreamSpec()), token)
        if done.outcome is not Outcome.APPENDED:
            raise StreamEnded(f"stream {name} has ended; nothing can be appended to it")
        return done.last

    async def write(self, name: str, asked: Write, token: bytes = b"") -> Written:
        """Append under conditions; see `Streams.write`."""
        if name.startswith(PREFIX):
            raise StreamError(f"{name} is a job's stream: only the job itself appends to it, by progress and log")
        # A commit whose answer was lost with the connection is asked for again, and must not append again.
        token = token or os.urandom(12)
        for _ in range(ATTEMPTS):
            seen = await self._see(name, asked.producer)
            if not isinstance(seen, Seen) and asked.spec is None:
                raise _unknown(name)
            if isinstance(seen, Seen) and seen.state.deleted:
                raise _unknown(name)
            place = seen if isinstance(seen, Seen) else _fresh(asked.spec or StreamSpec(), seen)
            done = await self._write(name, place, asked, token)
            if done is not None:
                return done
        raise Unavailable(f"stream {name} is written to faster than this write could be decided about; try again")

    async def create(self, name: str, spec: StreamSpec, asked: Write | None) -> tuple[StreamInfo, bool]:
        """Make a stream unless it is there; see `Streams.create`."""
        if name.startswith(PREFIX):
            raise StreamError(f"{name} is the name of a job's stream, which is made by enqueueing a job")
        token = os.urandom(12)  # as for a write: made once with its first events, though it may be asked for twice
        for _ in range(ATTEMPTS):
            seen = await self._see(name)
            if isinstance(seen, Seen):
                if seen.state.deleted:
                    raise StreamConflict(
                        f"stream {name} was deleted and is kept for the streams that began with its events"
                    )
                return seen.info(name), False
            made, source, upto, part = await self._source(spec)
            place = _fresh(made, seen)._replace(last=upto + bool(part))
            first, then = self._first(name, place, asked, token)
            arguments = [name, pack(place.state), self._expiry(place), source, upto, part, first, token]
            number = await self._run("make", arguments)
            if number == -1:
                raise BadOffset(f"what comes after the offset has not {spec.source_part} bytes")
            if number:
                return then._replace(made=number).info(name), True
        raise Unavailable(f"stream {name} comes and goes faster than it could be made; try again")

    async def info(self, name: str, touch: bool) -> StreamInfo | None:
        """What is known of a stream."""
        if name.startswith(PREFIX):
            found = await self._run("read", [name, name[len(PREFIX) :], 0, 0, 0])
            if found is None:
                return None
            return StreamInfo(stream=name, made=found[5], spec=StreamSpec(), last=found[0], ended=bool(found[1]))
        seen = await self._see(name)
        if not isinstance(seen, Seen):
            return None
        if touch and seen.state.spec.ttl is not None and not seen.state.deleted:
            await self._run("touch", [name, self._expiry(seen)])
        return seen.info(name)

    async def delete(self, name: str) -> None:
        """Forget a stream, or hide it while others need it."""
        if name.startswith(PREFIX):
            raise StreamError(f"{name} is a job's stream and goes with its job: `headgate jobs purge`")
        seen = await self._see(name)
        if not isinstance(seen, Seen) or seen.state.deleted:
            raise _unknown(name)
        hidden = msgspec.structs.replace(seen.state, deleted=True)
        await self._run("unmake", [name, pack(hidden), pack({"reason": "the stream was deleted"})])

    async def read_plain(self, name: str, after: int, most: int, patience: float | None = PATIENCE) -> Batch:
        """A page of events with their data decoded. Raises `UnknownStream`, `BadOffset`."""
        after = max(after, 0)
        job: Any = name[len(PREFIX) :] if name.startswith(PREFIX) else False
        found = await self._run("read", [name, job, after, most, PAGE_BYTES], patience=patience)
        if found is None:
            raise _unknown(name)
        last, ended, alive, raw, cut = found[:5]
        if after > last:
            raise BadOffset(
                f"stream {name} ends at {last}, and was to be read after {after}: it was made anew, or the offset "
                "is another stream's. Read it from its start"
            )
        events = entries(raw, alive)
        reached = events[-1].offset if events else last
        first = events[0].offset if events else last + 1
        truncated = None
        if first > after + 1:
            reason = (cut or b"its bounds were reached").decode()
            truncated = f"events up to {first - 1} are out of retention: {reason}"
        whole = reached >= last
        return Batch(plain(events), reached, bool(ended) and whole, truncated, more=not whole)

    async def _write(self, name: str, place: Seen, asked: Write, token: bytes) -> Written | None:
        """Judge a write and commit it; None if the stream changed meanwhile."""
        outcome = rules.judge(place.state, place.ended, place.known, asked)
        if outcome is Outcome.DUPLICATE and place.state.spec.ttl is not None:
            await self._run("touch", [name, self._expiry(place)])
        if outcome is not Outcome.APPENDED:
            if last := await self._run("appended", [token]):
                return Written(outcome=Outcome.APPENDED, last=last, ended=place.ended)
            epoch, seq = place.known or (0, -1)
            return Written(outcome=outcome, last=place.tail, ended=place.ended, epoch=epoch, seq=seq)
        arguments, then = self._appending(name, place, asked, token)
        last = await self._run("write", arguments)
        if last < 0:
            return None
        then = then._replace(last=last)
        if asked.producer is None:
            return Written(outcome=outcome, last=then.tail, ended=then.ended)
        epoch, seq = asked.producer.epoch, asked.producer.seq
        return Written(outcome=outcome, last=then.tail, ended=then.ended, epoch=epoch, seq=seq)

    def _first(self, name: str, place: Seen, asked: Write | None, token: bytes) -> tuple[Any, Seen]:
        """What appends a new stream's first events, False if it has none; and how it stands then."""
        if asked is None or not (asked.events or asked.close):
            return False, place
        if rules.judge(place.state, False, None, asked) is not Outcome.APPENDED:
            return False, place
        return self._appending(name, place, asked, token)

    def _appending(self, name: str, place: Seen, asked: Write, token: bytes) -> tuple[list[Any], Seen]:
        """What appends a write that has been judged; and how the stream stands then."""
        events = rules.closing(asked)
        state = rules.after(place.state, asked, events)
        ended = any(event.terminal for event in events)
        then = place._replace(state=state, ended=ended, last=place.last + len(events))
        producer = asked.producer
        arguments = [
            name,
            place.version,
            pack(state),
            [part for event in events for part in (event.kind, pack(event.data), event.terminal)],
            ended,
            self._expiry(then),
            self._bounds(state.spec),
            False if producer is None else producer.id,
            False if producer is None else f"{producer.epoch} {producer.seq}",
            rules.MOST_PRODUCERS,
            token,
        ]
        return arguments, then

    async def _see(self, name: str, producer: rules.Producer | None = None) -> Seen | float:
        """The stream; the time if there is none."""
        found = await self._run("see", [name, False if producer is None else producer.id])
        if len(found) == 1:
            return float(found[0])
        now, version, last, ended, made, state, known = found
        numbers = None if known is None else known.split(b" ")
        return Seen(
            int(version),
            int(last),
            ended == b"1",
            int(made),
            _state.decode(state) if state else StreamState(),
            float(now),
            None if numbers is None else (int(numbers[0]), int(numbers[1])),
        )

    async def _source(self, spec: StreamSpec) -> tuple[StreamSpec, Any, int, int]:
        """What a new stream inherits: its spec, its source, up to which offset, and so much of the event after it."""
        if spec.source is None:
            return spec, False, 0, 0
        source = await self._see(spec.source)
        if not isinstance(source, Seen) or spec.source.startswith(PREFIX):
            raise UnknownStream(f"there is no stream {spec.source} to begin with")
        if source.state.deleted:
            raise StreamConflict(f"stream {spec.source} was deleted; nothing can begin with it any more")
        given = source.state.spec
        if spec.content_type and spec.content_type != given.content_type:
            raise StreamConflict(f"stream {spec.source} has the content type {given.content_type}")
        upto = source.tail if spec.source_offset is None else spec.source_offset
        if upto > source.tail:
            raise BadOffset(f"stream {spec.source} ends at {source.tail}")
        part = spec.source_part
        if part and given.content_type == rules.JSON:
            if upto + part > source.tail:
                raise BadOffset(f"there are {source.tail - upto} messages after the offset, and {part} were asked for")
            upto, part = upto + part, 0
        ttl, expires = spec.ttl, spec.expires_at
        if ttl is None and expires is None:
            ttl, expires = given.ttl, given.expires_at
        made = msgspec.structs.replace(spec, content_type=given.content_type, ttl=ttl, expires_at=expires)
        return made, spec.source, upto, part

    def _expiry(self, place: Seen) -> float:
        return rules.expiry(place.state.spec, place.now, self._limits.stream_ttl)

    def _bounds(self, spec: StreamSpec) -> list[float]:
        asked, limits = spec.retention, self._limits
        return [
            limits.stream_events if asked.events is None else asked.events,
            limits.stream_bytes if asked.bytes is None else asked.bytes,
            limits.stream_age if asked.seconds is None else asked.seconds,
        ]


def _fresh(spec: StreamSpec, now: float) -> Seen:
    return Seen(0, 0, False, 0, StreamState(spec=spec), now)


def _unknown(name: str) -> UnknownStream:
    return UnknownStream(f"there is no stream {name}: nothing was ever appended to it, or its time is over")
