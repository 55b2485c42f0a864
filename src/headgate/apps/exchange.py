"""The worker's side of one stream: what goes out on it, under its credit, and whether anybody still listens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from headgate.base.errors import HeadgateError
from headgate.link.messages import Chunk, Head, Push
from headgate.link.session import PIECE, SendWindow, data_bytes


class ClientGone(HeadgateError, ConnectionError):
    """Nobody will read what is being written: the client went away, or its gateway did."""


class Sender(Protocol):
    """A link, as far as a stream needs it: thread-safe, keeps the order of the calls of one thread."""

    def send(self, message: Any) -> None: ...

    def finished(self, stream: int) -> bool:
        """The stream needs nothing more; False if it was finished before."""


class Exchange:
    """One stream on one link. Made on the loop, written by the one thread that runs its handler.

    Args:
        link: the link that it came on.
        stream: its number there.
        handler: what it is called; the worker may know better than the gateway.
    """

    __slots__ = ("_condition", "_window", "cancelled", "handler", "link", "on_cancel", "stream")

    def __init__(self, link: Sender, stream: int, handler: str) -> None:
        self.link = link
        self.stream = stream
        self.handler = handler
        self.cancelled = False
        self.on_cancel: Callable[[], None] | None = None
        self._window: SendWindow | None = None
        self._condition: threading.Condition | None = None

    def head(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, more: bool, run: float) -> None:
        """Begin the response, with what is at hand of its body."""
        if len(body) <= PIECE and not more:  # the usual response: one frame, no credit to wait for
            self.link.send(Head(self.stream, status, headers, body, False, self.handler, run))
            return
        first, rest = body[:PIECE], body[PIECE:]
        self._reserve(len(first))
        last = not rest and not more
        self.link.send(Head(self.stream, status, headers, first, not last, self.handler, run if last else 0.0))
        if rest:
            self.chunk(rest, more, run)

    def chunk(self, body: bytes, more: bool, run: float = 0.0) -> None:
        """Go on with the response, waiting while the client is slow.

        Raises:
            ClientGone: nobody reads it any more.
        """
        view = memoryview(body)
        at = 0
        while True:
            piece = view[at : at + PIECE]
            self._reserve(len(piece))
            at += len(piece)
            last = at >= len(view)
            self.link.send(Chunk(self.stream, bytes(piece), more or not last, run if last and not more else 0.0))
            if last:
                return

    def push(self, data: str | bytes) -> None:
        """Send a message of a loop socket, waiting while the client is slow. Raises `ClientGone`."""
        self._reserve(data_bytes(data))
        self.link.send(Push(self.stream, data))

    # on the loop

    def credit(self, amount: int) -> None:
        """The gateway has passed on so many bytes."""
        window, condition = self._window, self._condition
        if window is not None and condition is not None:
            with condition:
                window.grant(amount)
                condition.notify_all()

    def cancel(self) -> None:
        """Nobody listens any more: whoever writes or waits is told."""
        self.cancelled = True
        condition = self._condition
        if condition is not None:
            with condition:
                condition.notify_all()
        if self.on_cancel is not None:
            self.on_cancel()

    def _reserve(self, amount: int) -> None:
        if self._condition is None or self._window is None:
            self._window = SendWindow()
            self._condition = threading.Condition(threading.Lock())
        with self._condition:
            while not self.cancelled and not self._window.take(amount):
                self._condition.wait()
        if self.cancelled:
            raise ClientGone("the client has gone away: stop writing")
