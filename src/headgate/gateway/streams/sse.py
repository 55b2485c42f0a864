"""A stream as server-sent events (§5.8): data and control events, heartbeats, hints when to come back.

What is far back is read from the log, page by page and at the client's own pace; what comes is taken from the one
follower that the gateway has for the stream. So a slow client costs a page, and nobody else anything.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Final

from headgate.base.errors import HeadgateError, StreamError
from headgate.base.model import Event
from headgate.base.ports import Streams
from headgate.base.streams import CLOSED, StreamInfo
from headgate.gateway.httpproto import GONE
from headgate.gateway.pages import Headers
from headgate.gateway.streams import shown
from headgate.gateway.streams.readers import Reader
from headgate.gateway.streams.reading import Reading, next_of
from headgate.gateway.web import Message, Send

PAGE: Final = 500
RETRY: Final = 1_000
"""Milliseconds after which a client comes back, spread over twice that."""
HEARTBEAT: Final = b": still here\n\n"


class EventStream:
    """One client's.

    Args:
        reading: what all readers share.
        info: the stream.
        cursor: what the client gave back.
    """

    def __init__(self, reading: Reading, streams: Streams, info: StreamInfo, cursor: str) -> None:
        self._reading = reading
        self._streams = streams
        self._info = info
        self._cursor = cursor
        self._at = 0
        self._reader = Reader()

    async def run(self, scope: Message, send: Send, after: int | None) -> int:
        """Send until the stream ends, the client goes, or its time is over; returns the bytes sent."""
        self._at = self._info.last if after is None else after
        self._send, self._sent = send, 0
        scope[GONE] = self._reader.stop
        self._reading.readers.add(self._reader)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self._headers()})
            await self._write(b"retry: %d\n\n" % (RETRY + random.randrange(RETRY)))
            await self._serve(now=after is None)
            await send({"type": "http.response.body", "body": b""})
        finally:
            scope.pop(GONE, None)
            self._reading.readers.discard(self._reader)
            self._reading.follows.unfollow(self._reader, self._info.stream)
        return self._sent

    async def _serve(self, *, now: bool) -> None:
        until = time.monotonic() + self._reading.terms.sse * (0.9 + random.random() / 5)
        try:
            if await self._catch_up(now=now):
                return
        except StreamError as exc:
            await self._gone(str(exc))
            return
        except HeadgateError:
            return  # the engine is away: the client comes back to where it was
        self._reading.follows.follow(self._reader, self._info.stream, self._at)
        while not self._reader.stopped and time.monotonic() < until:
            told = await self._reader.take(min(self._reading.terms.heartbeat, until - time.monotonic()))
            if not told:
                if not self._reader.stopped:
                    await self._write(HEARTBEAT)
            elif await self._pass_on([one.event for one in told]):
                return

    async def _catch_up(self, *, now: bool) -> bool:
        """Send what there is; True when the stream has ended with it."""
        first = True
        while not self._reader.stopped:
            batch = await self._streams.read(self._info.stream, self._at, PAGE)
            if batch.truncated:
                self._at = batch.events[0].offset - 1 if batch.events else batch.next
                await self._write(shown.truncated_event(self._at, batch.truncated))
            events = shown.carried(batch.events)
            if events or first or batch.ended:
                self._at = next_of(batch) if batch.events else self._at
                await self._tell(events, up_to_date=not batch.more, closed=batch.ended)
            first = False
            if batch.ended or not batch.more:
                return batch.ended
        return False

    async def _pass_on(self, events: Sequence[Event]) -> bool:
        """Send live events; True after the last one."""
        run: list[Event] = []
        for event in events:
            if event.kind in ("gone", "truncated"):
                await self._tell_run(run)
                run = []
                if event.kind == "gone":
                    await self._gone(str(event.data.get("reason", "")))
                    return True
                self._at = event.offset
                await self._write(shown.truncated_event(self._at, str(event.data.get("reason", ""))))
                continue
            run.append(event)
        return await self._tell_run(run)

    async def _tell_run(self, run: list[Event]) -> bool:
        if not run:
            return False
        last = run[-1]
        bare = last.terminal and last.kind == CLOSED
        self._at = last.offset - 1 if bare else last.offset
        await self._tell(shown.carried(run), up_to_date=True, closed=last.terminal)
        return last.terminal

    async def _tell(self, events: list[Event], *, up_to_date: bool, closed: bool) -> None:
        content = b""
        if events:
            kind = self._info.spec.content_type
            content = shown.data_event(kind, shown.body(self._info.stream, kind, events), self._at)
        cursor = self._reading.cursor(self._cursor)
        await self._write(content + shown.control_event(self._at, cursor=cursor, up_to_date=up_to_date, closed=closed))

    async def _gone(self, reason: str) -> None:
        await self._write(shown.gone_event(reason))

    async def _write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self._sent += len(data)

    def _headers(self) -> Headers:
        headers = [
            *shown.ALWAYS,
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-cache, no-transform"),
            (b"x-accel-buffering", b"no"),
        ]
        if not shown.is_text(self._info.spec.content_type):
            headers.append((b"stream-sse-data-encoding", b"base64"))
        return headers
