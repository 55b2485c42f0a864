"""Following streams: what is published is taken when it fits on; whatever does not is read. The log is the truth."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from headgate.base.errors import HeadgateError
from headgate.base.model import Batch, Event
from headgate.drivers.embedded.caller import PATIENCE
from headgate.drivers.embedded.wire import WINDOW, Pushed
from headgate.drivers.redis.records import plain

CHANNEL: Final = ">e:"
"""Channels under it tell of events; followed by the name of the stream."""

Read = Callable[[str, int, int, float | None], Awaitable[Batch]]
"""(stream, after, most, seconds to wait for a connection) → a page."""


@dataclass(slots=True)
class Follow:
    """One reading of one stream by the client above."""

    n: int
    stream: str
    at: int
    credit: int = WINDOW
    reading: bool = True
    """It is being read for; live events have to wait."""
    missed: bool = field(default=False)
    """Something came while it was being read for."""


class Follows:
    """All streams that this client follows.

    Args:
        read: a page of a stream.
        push: gives events to the client.
        subscribe: hears a channel, or no longer.
    """

    def __init__(
        self, read: Read, push: Callable[[Pushed], None], subscribe: Callable[[list[str], bool], None]
    ) -> None:
        self._read = read
        self._push = push
        self._subscribe = subscribe
        self._by_stream: dict[str, list[Follow]] = defaultdict(list)
        self._by_number: dict[int, Follow] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self, n: int, stream: str, after: int, patience: float | None) -> None:
        """Follow a stream. Subscribes first, then reads: what comes in between is not missed.

        Raises:
            UnknownStream, Unavailable: and nothing is followed.
        """
        follow = Follow(n, stream, max(after, 0))
        self._by_number[n] = follow
        self._by_stream[stream].append(follow)
        if len(self._by_stream[stream]) == 1:
            self._subscribe([CHANNEL + stream], True)
        try:
            batch = await self._read(stream, follow.at, WINDOW, patience)
        except BaseException:
            self.end(n)
            raise
        self._feed(follow, batch)

    def heard(self, stream: str, events: Sequence[Event]) -> None:
        """Events that have just been committed."""
        for follow in list(self._by_stream.get(stream, ())):
            self._live(follow, events)

    def more(self, n: int, count: int) -> None:
        """The client takes `count` events more."""
        follow = self._by_number.get(n)
        if follow is not None:
            follow.credit += count
            if follow.missed and not follow.reading:
                self._catch_up(follow)

    def end(self, n: int) -> None:
        follow = self._by_number.pop(n, None)
        if follow is None:
            return
        listed = self._by_stream[follow.stream]
        listed.remove(follow)
        if not listed:
            del self._by_stream[follow.stream]
            self._subscribe([CHANNEL + follow.stream], False)

    def forget(self) -> None:
        """The connection is another one: the client begins all its follows anew."""
        self._by_number.clear()
        self._by_stream.clear()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _live(self, follow: Follow, events: Sequence[Event]) -> None:
        fresh = [event for event in events if event.offset > follow.at]
        if not fresh:
            return
        fits = fresh[0].offset == follow.at + 1 and len(fresh) <= follow.credit
        if follow.reading or follow.missed or not fits:
            follow.missed = True
            if not follow.reading and follow.credit > 0:
                self._catch_up(follow)
            return
        self._give(follow, Batch(plain(fresh), fresh[-1].offset, fresh[-1].terminal))

    def _give(self, follow: Follow, batch: Batch) -> None:
        follow.at = batch.next
        follow.credit -= len(batch.events)
        if batch.ended:
            self.end(follow.n)
        self._push(Pushed(follow.n, batch))

    def _feed(self, follow: Follow, batch: Batch) -> None:
        if self._by_number.get(follow.n) is not follow:
            return
        follow.reading = False
        if batch.more:
            follow.missed = True
        if batch.events or batch.ended or batch.truncated:
            self._give(follow, batch)
        if follow.missed and follow.credit > 0 and self._by_number.get(follow.n) is follow:
            self._catch_up(follow)

    def _catch_up(self, follow: Follow) -> None:
        follow.reading, follow.missed = True, False
        task = asyncio.get_running_loop().create_task(self._read_on(follow))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read_on(self, follow: Follow) -> None:
        try:
            batch = await self._read(follow.stream, follow.at, max(1, min(follow.credit, WINDOW)), PATIENCE)
        except HeadgateError:
            # The connection broke, and everything is followed anew; or the stream is gone, and no more comes of it.
            follow.reading = False
            return
        self._feed(follow, batch)
