"""One client's connection: frames in and out, and what happens when the client reads slowly."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final, cast

from headgate.base.errors import ProtocolError, TooLarge
from headgate.base.frames import FrameReader
from headgate.drivers.embedded import codec, wire
from headgate.drivers.embedded.wire import Message, Said
from headgate.drivers.local.desk import Desk

log = logging.getLogger(__name__)

KEPT: Final = 1_000
"""Channel messages that wait for one slow client; older ones are given up, and it is told how many."""


class Connection(asyncio.Protocol):
    """A `Peer` of the desk.

    Replies are bounded by not reading further requests of a client that does not read replies, pushed events
    by their window, channel messages by `KEPT`.
    """

    def __init__(self, desk: Desk, connections: set[Connection]) -> None:
        self._desk = desk
        self._connections = connections
        self._reader = FrameReader(wire.FRAME_LIMIT)
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._paused = False
        self._greeted = False
        self._said: deque[tuple[str, bytes]] = deque()
        self._dropped = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._connections.discard(self)
        self._desk.gone(self)

    def data_received(self, data: bytes) -> None:
        try:
            for payload in self._reader.feed(data):
                self._take(codec.decode_request(payload))
        except ProtocolError as exc:
            log.warning("a client of the broker is cut off: %s", exc)
            self.close()

    def pause_writing(self) -> None:
        self._paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        if self._transport is not None:
            self._transport.resume_reading()
        while self._said and not self._paused:
            channel, payload = self._said.popleft()
            dropped, self._dropped = self._dropped, 0
            self.send(Said(0, channel, payload, dropped))

    def send(self, message: Message) -> None:
        if self._transport is None:
            return
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(_framed(message))

    def say(self, channel: str, payload: bytes) -> None:
        if not self._paused:
            self.send(Said(0, channel, payload))
            return
        if len(self._said) == KEPT:
            self._said.popleft()
            self._dropped += 1
        self._said.append((channel, payload))

    def close(self) -> None:
        """Send what is written, then close."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _take(self, request: wire.Request) -> None:
        if isinstance(request, wire.Hello):
            self._greeted = request.version == wire.VERSION
            if not self._greeted:
                raise ProtocolError(
                    f"it speaks wire version {request.version}, this broker {wire.VERSION}; restart the client"
                )
            self._desk.welcome(self, request)
        elif not self._greeted:
            raise ProtocolError("it did not greet")
        else:
            self._desk.submit(self, request)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self._transport is not None:
            self._transport.write(b"".join(out))


def _framed(message: Message) -> bytes:
    try:
        return codec.framed(message)
    except TooLarge as exc:
        # Sent as it is it would cut the connection, and be asked for again on the next one.
        return codec.framed(codec.failed(message.n, exc))
