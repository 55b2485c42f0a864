"""Hearing channels: each subscriber has a bounded queue of its own and loses the oldest messages when it is slow."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from typing import Final

from headgate.base.channels import ChannelNames
from headgate.base.errors import HeadgateError
from headgate.drivers.embedded import wire
from headgate.drivers.embedded.caller import Caller
from headgate.drivers.embedded.wire import Said

KEPT: Final = 1_000
"""Messages that wait for one slow subscriber."""


class Listener:
    """One subscriber's messages."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[str, bytes]] = deque()
        self.dropped = 0
        self._some = asyncio.Event()

    def hear(self, channel: str, payload: bytes) -> None:
        if len(self.waiting) == KEPT:
            self.waiting.popleft()
            self.dropped += 1
        self.waiting.append((channel, payload))
        self._some.set()

    async def some(self) -> None:
        await self._some.wait()
        self._some.clear()


class Listeners:
    """All that listens over one caller."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._by_channel: dict[str, dict[Listener, None]] = defaultdict(dict)
        self._tasks: set[asyncio.Task[None]] = set()
        self.dropped = 0
        """Messages given up on the way to here, or here."""

    async def subscribe(self, channels: ChannelNames) -> AsyncIterator[tuple[str, bytes]]:
        """Messages of the channels in the set, which may change meanwhile."""
        listener = Listener()

        def want(channel: str, wanted: bool) -> None:
            self._want(listener, channel, wanted)

        channels.changed = want
        for channel in channels:
            self._want(listener, channel, True)
        try:
            while True:
                while listener.waiting:
                    yield listener.waiting.popleft()
                await listener.some()
        finally:
            channels.changed = None
            self.dropped += listener.dropped
            for channel in list(self._by_channel):
                self._want(listener, channel, False)

    def said(self, reply: Said) -> None:
        self.dropped += reply.dropped
        for listener in list(self._by_channel.get(reply.channel, ())):
            listener.hear(reply.channel, reply.payload)

    def reconnected(self) -> None:
        if self._by_channel:
            self._tell(list(self._by_channel), True)

    def _want(self, listener: Listener, channel: str, wanted: bool) -> None:
        listeners = self._by_channel[channel]
        first = not listeners
        if wanted:
            listeners[listener] = None
        else:
            listeners.pop(listener, None)
        if not listeners:
            del self._by_channel[channel]
        if wanted and first:
            self._tell([channel], True)
        elif not wanted and not listeners and not first:
            self._tell([channel], False)

    def _tell(self, channels: list[str], wanted: bool) -> None:
        task = asyncio.get_running_loop().create_task(self._ask(channels, wanted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, channels: list[str], wanted: bool) -> None:
        # Without a connection there is nothing to tell: `reconnected` tells it all.
        try:
            await self._caller.ask(lambda n: wire.Want(n, channels, wanted))
        except HeadgateError:
            return
