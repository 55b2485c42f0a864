"""Followers that are no sockets: one that waits for a single event, one whose events are taken in batches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Final

from headgate.gateway.follows import Told

MOST: Final = 500
"""Events that wait for one reader; one that is further behind reads from the log again."""
MOST_BYTES: Final = 1024 * 1024


class Reader:
    """A `Follower` (gateway.follows) whose events wait here, up to a bound."""

    def __init__(self) -> None:
        self._events: deque[Told] = deque()
        self._bytes = 0
        self._news = asyncio.Event()
        self._room: asyncio.Future[None] | None = None
        self.stopped = False

    def event(self, told: Told) -> None:
        self._events.append(told)
        self._bytes += told.size
        self._news.set()

    def behind(self) -> Awaitable[None] | None:
        if len(self._events) < MOST and self._bytes < MOST_BYTES:
            return None
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()
        return self._room

    def stop(self) -> None:
        """Nobody reads on, or the gateway is about to stop."""
        self.stopped = True
        self._news.set()

    async def take(self, seconds: float) -> list[Told]:
        """What has come; nothing after so many seconds, or when it was stopped."""
        if not self._events and not self.stopped:
            try:
                async with asyncio.timeout(max(0.0, seconds)):
                    await self._news.wait()
            except TimeoutError:
                return []
        self._news.clear()
        taken, self._events, self._bytes = list(self._events), deque(), 0
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)
        return taken
