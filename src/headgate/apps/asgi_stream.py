"""The worker's side of one stream for code that runs on the loop: sending waits without a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headgate.apps.exchange import ClientGone, Sender
from headgate.link.messages import Chunk, Head, Push
from headgate.link.session import PIECE, SendWindow, data_bytes

Headers = list[tuple[bytes, bytes]]


class AsgiStream:
    """One stream on one link; everything of it happens on the loop.

    Args:
        link: the link that it came on.
        stream: its number there.
        handler: what it is called.
    """

    __slots__ = ("_window", "_writable", "cancelled", "handler", "link", "on_cancel", "stream")

    def __init__(self, link: Sender, stream: int, handler: str) -> None:
        self.link = link
        self.stream = stream
        self.handler = handler
        self.cancelled = False
        self.on_cancel: Callable[[], None] | None = None
        self._window = SendWindow()
        self._writable = asyncio.Event()

    async def head(self, status: int, headers: Headers, body: bytes, more: bool, run: float) -> None:
        """Begin the response. Raises `ClientGone`."""
        first, rest = body[:PIECE], body[PIECE:]
        await self._reserve(len(first))
        last = not rest and not more
        self.link.send(Head(self.stream, status, headers, first, not last, self.handler, run if last else 0.0))
        if rest:
            await self.chunk(rest, more, run)

    async def chunk(self, body: bytes, more: bool, run: float) -> None:
        """Go on with the response. Raises `ClientGone`."""
        for at in range(0, max(1, len(body)), PIECE):
            piece = body[at : at + PIECE]
            await self._reserve(len(piece))
            last = at + PIECE >= len(body) and not more
            self.link.send(Chunk(self.stream, piece, not last, run if last else 0.0))

    async def push(self, data: str | bytes) -> None:
        """Send a message of a socket. Raises `ClientGone`."""
        await self._reserve(data_bytes(data))
        self.link.send(Push(self.stream, data))

    def credit(self, amount: int) -> None:
        """The gateway has passed on so many bytes."""
        self._window.grant(amount)
        self._writable.set()

    def cancel(self) -> None:
        """Nobody listens any more."""
        self.cancelled = True
        self._writable.set()
        if self.on_cancel is not None:
            self.on_cancel()

    async def _reserve(self, amount: int) -> None:
        while not self.cancelled and not self._window.take(amount):
            self._writable.clear()
            await self._writable.wait()
        if self.cancelled:
            raise ClientGone("the client has gone away: stop sending")
