"""Loop sockets (flask-sock, ASGI): a handler in an app worker holds the connection, over a stream of the link.

What the client sends is fed as far as the handler takes it, and then no more is read; what the handler sends
has the stream's credit, so that a slow client stops the handler and not the gateway.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from headgate.gateway import codes
from headgate.gateway.connection import Connection, Shared
from headgate.gateway.exchange import WorkerLink
from headgate.gateway.outbox import KEEP
from headgate.gateway.wire import data_frame
from headgate.link.messages import Closed, Consumed, Credit, Fail, Feed, Hangup, Push
from headgate.link.session import ReceiveWindow, data_bytes


class LoopConnection(Connection):
    """An open loop socket; also the stream on which its handler answers."""

    __slots__ = ("_fed", "_inbox", "_link", "_number", "_stream_open", "_window")

    def __init__(self, sockets: Shared, id: str, scope: msgspec.Raw, link: WorkerLink, number: int) -> None:
        super().__init__(sockets, id, scope)
        self._link = link
        self._number = number
        self._stream_open = True
        self._fed = 0
        self._inbox: deque[str | bytes] = deque()
        self._window = ReceiveWindow()

    def message(self, data: str | bytes) -> None:
        if self._bucket is not None and self._bucket.take(self.sockets.now()):
            self.sockets.limited["message_rate"] += 1
            self.close(codes.TRY_LATER, "too many messages per second (message_rate)")
            return
        if self._fed < self.sockets.inbox and not self._inbox:
            self._feed(data)
        else:
            self._inbox.append(data)
        if self._fed >= self.sockets.inbox:
            self.wire.pause()

    def sent(self, credit: int) -> None:
        granted = self._window.passed(credit)
        if granted and self._stream_open:
            self._link.transport.send(Credit(self._number, granted))

    def over(self, code: int, reason: str) -> None:
        self._inbox.clear()
        if self._stream_open:
            self._link.transport.send(Closed(self._number, code, reason))
        self.sockets.forget(self)

    # the stream

    def take(self, message: Any) -> None:
        match message:
            case Push():
                self.post(data_frame(message.data), KEEP, None, data_bytes(message.data) or 1)
            case Consumed():
                self._consumed(message.count)
            case Hangup():
                self._end_stream()
                self.close(message.code, message.reason)
            case Fail():
                self._end_stream()
                self.close(codes.INTERNAL, f"the handler failed (error id {message.error_id})")
            case _:
                pass

    def lost(self) -> None:
        self._stream_open = False
        self.close(codes.RESTART, "the app worker of this connection is gone; retry in 1 s")

    def _end_stream(self) -> None:
        self._stream_open = False
        self._link.streams.pop(self._number, None)

    def _feed(self, data: str | bytes) -> None:
        if self._stream_open:
            self._fed += 1
            self._link.transport.send(Feed(self._number, data))

    def _consumed(self, count: int) -> None:
        self._fed = max(0, self._fed - count)
        while self._inbox and self._fed < self.sockets.inbox:
            self._feed(self._inbox.popleft())
        if not self.wire.reading and not self._inbox and self._fed <= self.sockets.inbox // 2:
            self.wire.resume()
