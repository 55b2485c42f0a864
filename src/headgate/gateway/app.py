"""The gateway behind uvicorn: an ASGI app for HTTP, and the front that its protocol asks about connections."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl

from headgate.gateway.balance import Balance
from headgate.gateway.door import Entry
from headgate.gateway.heads import BadHead, Head
from headgate.gateway.httpproto import HttpProtocol
from headgate.gateway.judge import Limits
from headgate.gateway.own import PREFIX, Own
from headgate.gateway.pages import Page, page
from headgate.gateway.socketio.front import SocketIO
from headgate.gateway.sockets import Sockets
from headgate.gateway.streams.asked import PREFIX as STREAMS
from headgate.gateway.streams.face import Face
from headgate.gateway.web import Message, Receive, Send, Web

PROBES: Final = ("/-/live", "/-/ready")
"""Asked every few seconds by whoever watches: not logged, not counted."""


class GatewayApp:
    """Says where each connection and request goes.

    Args:
        max_connections: open at once, WebSockets included.
        limits: of requests' heads.
        entry: what connections begin with.
    """

    def __init__(
        self,
        web: Web,
        sockets: Sockets,
        own: Own,
        max_connections: int,
        limits: Limits | None = None,
        entry: Entry | None = None,
    ) -> None:
        self._web = web
        self._sockets = sockets
        self._own = own
        self._most = max_connections
        self.limits = limits or Limits()
        self.entry = entry or Entry(None, None, 0.0)
        self.connections = 0
        self.turned_away = 0
        self.limited: Counter[str] = Counter()
        """How often a bound of heads or of time was reached, by its setting."""
        self.stalled = 0
        """Responses given up because their clients took nothing of them."""
        self.balance: Balance | None = None
        self.socketio: SocketIO | None = None
        self.streams: Face | None = None
        self.on_done: Callable[[Message, Head, int, int, float], None] = lambda *_: None
        """Hears of each request that the gateway has answered itself: scope, head, status, bytes, seconds."""
        sockets.on_departed = self.depart

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path.startswith(PREFIX):
            await self._own_request(scope, receive, send)
        elif self.socketio is not None and self.socketio.takes(path):
            await self.socketio.answer(scope, receive, send)
        else:
            await self._web.answer(scope, receive, send)

    async def _own_request(self, scope: Message, receive: Receive, send: Send) -> None:
        """One that the gateway answers itself; each has its id and its line, but for the probes."""
        if scope["path"] in PROBES:
            await self._answer_own(scope, receive, send)
            return
        try:
            head = self._web.read_head(scope)
        except BadHead:
            head = Head(scope["client"], scope["scheme"])
        since, status, sent = time.perf_counter(), 0, 0

        async def counted(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", head.request_id.encode())]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._answer_own(scope, receive, counted)
        finally:
            self.on_done(scope, head, status or 499, sent, time.perf_counter() - since)

    async def _answer_own(self, scope: Message, receive: Receive, send: Send) -> None:
        if self.streams is not None and scope["path"].startswith(STREAMS):
            await self.streams.answer(scope, receive, send)
            return
        try:
            query = dict(parse_qsl(scope["query_string"].decode("latin-1"), max_num_fields=20))
        except ValueError:  # more fields than any address of ours has
            query = {}
        etag = next((value for name, value in scope["headers"] if name == b"if-none-match"), b"")
        told = await self._own.answer(scope["method"], scope["path"], query, etag)
        await send({"type": "http.response.start", "status": told.status, "headers": told.headers})
        body = b"" if scope["method"] == "HEAD" else told.body
        await send({"type": "http.response.body", "body": body})

    # httpproto.Front

    def pass_on(self, transport: asyncio.Transport) -> bool:
        return self.balance is not None and self.balance.hand_over(transport, self.connections + 1)

    def arrive(self, protocol: HttpProtocol) -> Page | None:
        self.connections += 1
        self._tell()
        if self.connections > self._most:
            self.turned_away += 1
            return _FULL
        return None

    def count(self) -> None:
        """A connection came that another gateway accepted and counts no more."""
        self.connections += 1
        self._tell()

    def depart(self) -> None:
        self.connections -= 1
        self._tell()

    def _tell(self) -> None:
        if self.balance is not None:
            self.balance.tell(self.connections)

    def upgrade(self, protocol: HttpProtocol, target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        if self.socketio is not None and self.socketio.takes(target.partition(b"?")[0].decode("latin-1")):
            self.socketio.upgrade(protocol, target, headers)
        else:
            self._sockets.upgrade(protocol, target, headers)


_FULL: Final = page(
    503, "too_many_connections", "This gateway holds as many connections as max_connections allows.", retry_after=5
)
