"""Following streams: one subscription per stream however many followers there are here.

A feed keeps the last few events that came. A follower takes them from there at its own pace; one that is slower
than that, or that starts further back, reads from the engine. So memory is bounded by streams, not by followers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Final

from headgate.base.errors import HeadgateError
from headgate.base.model import Batch, Event
from headgate.drivers.embedded import wire
from headgate.drivers.embedded.caller import Caller
from headgate.drivers.embedded.wire import Pushed

KEPT: Final = 2 * wire.WINDOW
"""Events kept of each followed stream."""
TELL: Final = wire.WINDOW // 2
"""Events after which the engine is told that they were taken: not one message for each, and no stop for want of it."""
PAGE: Final = 500
"""Events read at once by a follower that is behind."""


class Feed:
    """What is known here of one stream that is followed."""

    def __init__(self, stream: str, after: int) -> None:
        self.stream = stream
        self.at = after
        self.n = 0
        self.followers = 0
        self.owed = 0
        """Events that came and are not told to the engine as taken."""
        self.ended = False
        self.error: HeadgateError | None = None
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._floor = after
        self._changed: asyncio.Future[None] | None = None

    def take(self, batch: Batch) -> None:
        """Events that came, in order; what was seen before a reconnect is not taken twice."""
        if batch.truncated:
            # What is kept would have a hole: followers must read, and are told there.
            self._events.clear()
            self._floor = batch.events[0].offset - 1 if batch.events else batch.next
        for event in batch.events:
            if event.offset > self.at:
                if len(self._events) == KEPT:
                    self._floor = self._events[0].offset
                self._events.append(event)
        self.at = max(self.at, batch.next)
        self.ended = batch.ended
        self.wake()

    def after(self, offset: int) -> Sequence[Event] | None:
        """The kept events after an offset; None if the reader is too far back."""
        if offset < self._floor:
            return None
        if offset >= self.at:
            return ()
        missing = next((at for at, event in enumerate(self._events) if event.offset > offset), len(self._events))
        return list(self._events)[missing:]

    def fail(self, error: HeadgateError) -> None:
        self.error = error
        self.wake()

    def wake(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None and not changed.done():
            changed.set_result(None)

    async def change(self) -> None:
        """Wait until something is new."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)


class Feeds:
    """All that is followed over one caller."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._by_stream: dict[str, Feed] = {}
        self._by_number: dict[int, Feed] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._by_stream)

    async def follow(self, stream: str, after: int) -> AsyncIterator[Event]:
        """Every event after an offset, to the terminal one.

        Raises:
            UnknownStream, Unavailable: at the beginning.
        """
        feed = self._join(stream, after)
        try:
            async for event in self._events(feed, after):
                yield event
        finally:
            self._leave(feed)

    def pushed(self, reply: Pushed) -> None:
        """What the engine sent for one of the subscriptions."""
        feed = self._by_number.get(reply.n)
        if feed is None:
            self._caller.tell(wire.Unfollow(reply.n))
            return
        feed.take(reply.batch)
        feed.owed += len(reply.batch.events)
        if not feed.ended and feed.owed >= TELL:
            self._caller.tell(wire.More(reply.n, feed.owed))
            feed.owed = 0

    def reconnected(self) -> None:
        """The engine has forgotten us: follow everything again from where we are."""
        for feed in list(self._by_stream.values()):
            if feed.n and not feed.ended:
                self._by_number.pop(feed.n, None)
                self._spawn(feed, patience=None)

    async def _events(self, feed: Feed, after: int) -> AsyncIterator[Event]:
        at = after
        while True:
            kept = feed.after(at)
            if kept:
                for event in kept:
                    at = event.offset
                    yield event
                continue
            if kept is None:
                page = await self._page(feed.stream, at)
                if page.truncated:
                    start = page.events[0].offset if page.events else page.next + 1
                    yield Event(start - 1, "truncated", {"reason": page.truncated, "after": at}, 0.0)
                for event in page.events:
                    yield event
                at = page.next
                if page.ended:
                    return
                continue
            if feed.ended:
                return
            if feed.error is not None:
                raise feed.error
            await feed.change()

    async def _page(self, stream: str, after: int) -> Batch:
        reply: wire.Page = await self._caller.ask(
            lambda n: wire.Read(n, stream, after, PAGE), repeat=True, patience=None
        )
        return reply.batch

    def _join(self, stream: str, after: int) -> Feed:
        feed = self._by_stream.get(stream)
        if feed is None or feed.error is not None or feed.ended:
            feed = self._by_stream[stream] = Feed(stream, after)
            self._spawn(feed)
        feed.followers += 1
        return feed

    def _leave(self, feed: Feed) -> None:
        feed.followers -= 1
        if feed.followers == 0:
            if self._by_stream.get(feed.stream) is feed:
                del self._by_stream[feed.stream]
            if self._by_number.pop(feed.n, None) is not None and not feed.ended:
                self._caller.tell(wire.Unfollow(feed.n))

    def _spawn(self, feed: Feed, patience: float | None = 5.0) -> None:
        task = asyncio.get_running_loop().create_task(self._subscribe(feed, patience))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _subscribe(self, feed: Feed, patience: float | None) -> None:
        def make(n: int) -> wire.Follow:
            feed.n, feed.owed = n, 0
            self._by_number[n] = feed
            return wire.Follow(n, feed.stream, feed.at)

        try:
            await self._caller.ask(make, repeat=True, patience=patience)
        except HeadgateError as exc:
            self._by_number.pop(feed.n, None)
            feed.fail(exc)
