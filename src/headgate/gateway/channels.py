"""Channels: what is published reaches every connection of this gateway that has joined, encoded once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Protocol

import msgspec

from headgate.base.channels import ChannelNames
from headgate.base.errors import HeadgateError
from headgate.base.ports import ChannelSet
from headgate.gateway.wire import data_frame

log = logging.getLogger("headgate.gateway")

PAUSE: Final = 0.5
TURN: Final = 500


class Member(Protocol):
    """A connection, as far as channels need it."""

    def published(self, frame: bytes, channel: str) -> None: ...


Subscribe = Callable[[ChannelSet], AsyncIterator[tuple[str, bytes]]]
Publish = Callable[[str, bytes], Awaitable[None]]


class Channels:
    """The members of all channels on this gateway.

    Args:
        subscribe: the engine's, or None while there is no engine.
        publish: the engine's, likewise.
    """

    def __init__(
        self, subscribe: Callable[[], Subscribe | None], publish: Callable[[], Publish | None] = lambda: None
    ) -> None:
        self._subscribe = subscribe
        self._publish = publish
        self._members: dict[str, dict[Member, None]] = {}
        self._wanted = ChannelNames()
        self._listeners: dict[str, Callable[[bytes], None]] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self.delivered = 0

    def __len__(self) -> int:
        return len(self._members)

    def join(self, member: Member, channel: str) -> None:
        members = self._members.get(channel)
        if members is None:
            members = self._members[channel] = {}
            self._wanted.add(channel)
        members[member] = None

    def leave(self, member: Member, channel: str) -> None:
        members = self._members.get(channel)
        if members is not None:
            members.pop(member, None)
            if not members:
                del self._members[channel]
                self._wanted.discard(channel)

    def listen(self, channel: str, heard: Callable[[bytes], None]) -> None:
        """Hear what gateways tell each other on a channel of our own."""
        self._listeners[channel] = heard
        self._wanted.add(channel)

    def tell(self, channel: str, payload: bytes) -> None:
        """Tell all gateways, this one included. What an engine that is away does not carry is lost."""
        publish = self._publish()
        if publish is not None:
            task = asyncio.get_running_loop().create_task(self._tell(publish, channel, payload))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _tell(self, publish: Publish, channel: str, payload: bytes) -> None:
        try:
            await publish(channel, payload)
        except HeadgateError as exc:
            log.warning("the other gateways could not be told on %s: %s", channel, exc)

    async def run(self) -> None:
        """Pass on what is published, through restarts of the engine, until cancelled."""
        while True:
            try:
                subscribe = self._subscribe()
                if subscribe is not None:
                    async for channel, payload in subscribe(self._wanted):
                        await self.pass_on(channel, payload)
            except HeadgateError as exc:
                log.warning("the subscription to channels is interrupted: %s", exc)
            except Exception:
                log.exception("the subscription to channels failed; it is tried again")
            await asyncio.sleep(PAUSE)

    async def pass_on(self, channel: str, payload: bytes) -> None:
        """One publication (the msgpack of text, bytes, or a value that goes as JSON) to all members."""
        if channel in self._listeners:
            self._listeners[channel](payload)
            return
        members = self._members.get(channel)
        if not members:
            return
        try:
            frame = data_frame(_data(payload))
        except (msgspec.DecodeError, TypeError) as exc:
            log.warning("a message on channel %s was no publication of Headgate's: %s", channel, exc)
            return
        self.delivered += len(members)
        for number, member in enumerate(list(members), 1):
            member.published(frame, channel)
            if number % TURN == 0:
                await asyncio.sleep(0)


def _data(payload: bytes) -> str | bytes:
    data: Any = msgspec.msgpack.decode(payload)
    return data if isinstance(data, str | bytes) else msgspec.json.encode(data).decode()
