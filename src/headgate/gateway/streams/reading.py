"""GET and HEAD: what there is from an offset on, at once, by long-poll, or as an event stream."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

import msgspec

from headgate.base.model import Batch, Event
from headgate.base.ports import Streams
from headgate.base.streams import CLOSED, StreamInfo
from headgate.gateway.follows import Follows
from headgate.gateway.pages import Headers, Page
from headgate.gateway.streams import shown
from headgate.gateway.streams.asked import Query, position
from headgate.gateway.streams.readers import Reader

PAGE: Final = 2_000
"""Events in one answer, at most."""
FRESH: Final = 60
"""Seconds for which an answer with data may be kept: what is at an offset never changes (§10.1)."""
TRIES: Final = 3


class Terms(msgspec.Struct, frozen=True):
    """Times of live reading, in seconds."""

    poll: float
    heartbeat: float
    sse: float


class Reading:
    """Answers reads.

    Args:
        follows: where live events come from.
        terms: its times.
        clock: the wall clock, for cursors.
    """

    def __init__(self, follows: Follows, terms: Terms, clock: Callable[[], float] = time.time) -> None:
        self.follows = follows
        self.terms = terms
        self._clock = clock
        self.readers: set[Reader] = set()
        """Those that wait for events now."""

    def cursor(self, given: str) -> str:
        return shown.cursor(self._clock(), given, random.random())

    def head(self, info: StreamInfo) -> Page:
        """What is known of a stream (§5.5)."""
        headers = [*shown.described(info), *shown.timed(info.spec), (b"cache-control", b"no-store")]
        return Page(200, headers, b"")

    async def answer(self, streams: Streams, info: StreamInfo, query: Query, known: bytes, kept: str) -> Page:
        """A catch-up read or a long-poll (§5.6, §5.7).

        Args:
            known: its If-None-Match.
            kept: who may keep the answer: `public`, `private`.

        Raises:
            UnknownStream: it went away meanwhile.
            BadOffset: there is no such position.
        """
        after = position(query.offset)
        polls = query.live == "long-poll"
        if after is None and not polls:
            return _now(info)
        at = info.last if after is None else after
        batch = await streams.read(info.stream, at, PAGE)
        events = shown.carried(batch.events)
        if polls and not events and not batch.ended and not batch.truncated:
            batch = await self._wait(streams, info.stream, at)
            events = shown.carried(batch.events)
        if batch.truncated and after:
            return _truncated(events, batch)
        cursor = self.cursor(query.cursor) if polls else ""
        if polls and not events:
            return _nothing(info, at, batch.ended, cursor)
        return _found(info, at, events, batch, known, kept, cursor)

    async def _wait(self, streams: Streams, stream: str, at: int) -> Batch:
        """The next events after the offset, or none when the time is over."""
        reader = Reader()
        self.readers.add(reader)
        self.follows.follow(reader, stream, at)
        try:
            told = await reader.take(self.terms.poll)
        finally:
            self.readers.discard(reader)
            self.follows.unfollow(reader, stream)
        if not told:
            return Batch([], at)
        first = told[0].event
        if first.kind in ("gone", "truncated"):
            return await streams.read(stream, at, PAGE)  # which says it in full
        events: list[Event] = [one.event for one in told]
        return Batch(events, events[-1].offset, events[-1].terminal)


def next_of(batch: Batch) -> int:
    """The offset to read after next: that of the last event that carries data."""
    last = batch.events[-1] if batch.events else None
    bare = last is not None and last.terminal and last.kind == CLOSED
    return batch.next - 1 if bare else batch.next


def _now(info: StreamInfo) -> Page:
    headers = [*shown.described(info), (b"stream-up-to-date", b"true"), (b"cache-control", b"no-store")]
    return _whole(200, headers, shown.body(info.stream, info.spec.content_type, []))


def _found(info: StreamInfo, at: int, events: list[Event], batch: Batch, known: bytes, kept: str, cursor: str) -> Page:
    reached = next_of(batch) if batch.events else min(at, info.last) if batch.ended else max(at, batch.next)
    headers = [*_without(shown.described(info)), (b"stream-next-offset", shown.told(reached))]
    etag = b'"%d:%d:%d%s"' % (info.made, at, reached, b":c" if batch.ended else b"")
    headers.append((b"etag", etag))
    # An answer without data says where the end is, and that changes: it is asked for again, and is cheap.
    fresh = b"max-age=%d, stale-while-revalidate=300" % FRESH if events else b"no-cache"
    headers.append((b"cache-control", kept.encode() + b", " + fresh))
    if not batch.more:
        headers.append((b"stream-up-to-date", b"true"))
    if batch.ended:
        headers.append((b"stream-closed", b"true"))
    if cursor and not batch.ended:
        headers.append((b"stream-cursor", cursor.encode()))
    if batch.truncated:
        headers.append((b"stream-truncated", batch.truncated.encode("latin-1", "replace")))
    if not cursor and known and (etag in known or known == b"*"):
        return Page(304, [one for one in headers if one[0] != b"content-type"], b"")
    return _whole(200, headers, shown.body(info.stream, info.spec.content_type, events))


def _nothing(info: StreamInfo, at: int, ended: bool, cursor: str) -> Page:
    headers = [
        *shown.ALWAYS,
        (b"stream-next-offset", shown.told(min(at, info.last) if ended else at)),
        (b"stream-up-to-date", b"true"),
        (b"cache-control", b"no-store"),
        (b"stream-closed", b"true") if ended else (b"stream-cursor", cursor.encode()),
    ]
    return Page(204, headers, b"")


def _truncated(events: list[Event], batch: Batch) -> Page:
    """What comes next after the offset is gone: told, with the place from which on all is there (410, §5.6)."""
    start = events[0].offset - 1 if events else batch.next
    return shown.refusal(
        410,
        "truncated",
        f"The {batch.truncated}. Read on after the offset in stream-next-offset.",
        headers=[(b"stream-next-offset", shown.told(start))],
        next_offset=shown.told(start).decode(),
        reason=batch.truncated,
    )


def _without(headers: Headers) -> Headers:
    return [one for one in headers if one[0] not in (b"stream-next-offset", b"stream-closed")]


def _whole(status: int, headers: Headers, body: bytes) -> Page:
    return Page(status, [*headers, (b"content-length", b"%d" % len(body))], body)
