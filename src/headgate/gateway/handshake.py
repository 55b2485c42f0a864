"""A WebSocket handshake (RFC 6455 §4.2): checked here, decided by the app, answered here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.server import ServerProtocol

from headgate.base.model import new_id
from headgate.gateway.exchange import Exchange, Task, WorkerLink
from headgate.gateway.heads import outgoing
from headgate.gateway.httpproto import HttpProtocol
from headgate.gateway.pages import Page, page
from headgate.link.messages import Accept, Cancel, Fail, Open, Reject, Scope, ToWorker

log = logging.getLogger("headgate.gateway")

EARLY: Final = 64 * 1024
"""Bytes that a client may send before it has the answer to its handshake."""
_OURS: Final = frozenset(
    [
        b"upgrade",
        b"connection",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
        b"date",
        b"x-headgate-key",
        b"x-headgate-session",
    ]
)


class Gate(Protocol):
    """What the check of a handshake needs to know."""

    refused: int

    def new_protocol(self) -> ServerProtocol: ...

    def allows_origin(self, origin: str | None, host: str) -> bool: ...

    def given_up(self, handshake: Handshake) -> None:
        """It came to nothing."""


class Host(Gate, Protocol):
    """What a handshake needs of those who keep the sockets."""

    exchange: Exchange

    def opened(
        self, task: OpenTask, link: WorkerLink, handshake: Handshake, accept: Accept, scope: msgspec.Raw
    ) -> None:
        """The app accepted."""

    def leave_loop(self, task: OpenTask, link: WorkerLink, accept: Accept) -> None:
        """A loop accepted a client that has gone."""


class Handshake(asyncio.Protocol):
    """The connection between the client's handshake and its answer."""

    def __init__(self, sockets: Gate, http_protocol: HttpProtocol, proto: ServerProtocol) -> None:
        self.transport: asyncio.Transport = http_protocol.transport
        self.http_protocol = http_protocol
        self.proto = proto
        self.accepted: bytes = b""
        """The 101 response as the checks made it, without the app's headers."""
        self.offered: list[str] = []
        """Subprotocols that the client knows."""
        self._sockets = sockets
        self._early: list[bytes] = []
        self._early_bytes = 0
        self.task: OpenTask | None = None
        self.address = ""
        """The client's, while it is counted here."""
        self.done = False
        self.answered = (0, 0)
        """Status and bytes of the answer, once there is one: 101, a refusal's, or 499 when the client went away."""
        self.on_end: Callable[[Handshake], None] = lambda _: None

    def data_received(self, data: bytes) -> None:
        self._early.append(data)
        self._early_bytes += len(data)
        if self._early_bytes > EARLY:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.http_protocol.leave()
        self.proto.parser.close()  # it refers back to the protocol
        if not self.done:
            task = self.task
            self._over(499)
            if task is not None:
                task.client_gone()

    def early(self) -> bytes:
        return b"".join(self._early)

    def refuse(self, told: Page) -> None:
        """Answer with an HTTP response instead, and end the connection."""
        if not self.done:
            self._over(told.status, len(told.body))
            self._sockets.refused += 1
            self.transport.write(told.wire())
            self.transport.close()

    def end(self, status: int, sent: int = 0) -> None:
        """It is decided."""
        self.done = True
        self.answered = (status, sent)
        on_end, self.on_end = self.on_end, _heard
        on_end(self)
        self.task = None  # it has us too: what is no circle is freed at once, thousands of handshakes in a row

    def _over(self, status: int, sent: int = 0) -> None:
        self._sockets.given_up(self)
        self.end(status, sent)


def _heard(_: Handshake) -> None:
    """Its end was told."""


class OpenTask(Task):
    """The app's part of a handshake."""

    __slots__ = ("_handshake", "_scope", "_sockets", "connection_id", "run")

    def __init__(self, sockets: Host, handshake: Handshake, handler: str, scope: Scope) -> None:
        super().__init__(handler)
        self._sockets = sockets
        self._handshake = handshake
        self._scope = scope
        self.connection_id = new_id()
        self.run = 0.0
        """Seconds that the app took to decide."""

    def begin(self, send: Callable[[ToWorker], None]) -> None:
        send(Open(self.stream, self.connection_id, self.handler, self._scope))

    def take(self, message: Any) -> None:
        sockets, handshake = self._sockets, self._handshake
        self.run = getattr(message, "run", 0.0)
        if isinstance(message, Accept):
            self._accept(message)
            return
        if isinstance(message, Reject):
            handshake.refuse(Page(message.status, _whole(message), message.body))
            sockets.exchange.end(self, message.handler, message.run)
        elif isinstance(message, Fail):
            told = page(500, "internal", "The app failed with this handshake; see its log.", error_id=message.error_id)
            handshake.refuse(told)
            sockets.exchange.end(self, message.handler, message.run)
        elif hasattr(message, "code"):  # a loop that ended before it accepted
            handshake.refuse(page(500, "internal", "The app ended the connection before it accepted it."))
            sockets.exchange.end(self, self.handler, message.run, whole=False)

    def lost(self) -> None:
        self._handshake.refuse(
            page(503, "worker_lost", "The app process that had this handshake died: try again.", retry_after=1)
        )

    def expired(self) -> None:
        self._handshake.refuse(
            page(503, "busy", f"No slot of the {self.lane} lane came free in time: try again.", retry_after=2)
        )

    @property
    def query(self) -> bytes:
        return self._scope.query

    def client_gone(self) -> None:
        if not self._sockets.exchange.cancel(self) and self.link is not None:
            self.link.transport.send(Cancel(self.stream))

    def _accept(self, accept: Accept) -> None:
        sockets, handshake, link = self._sockets, self._handshake, self.link
        assert isinstance(link, WorkerLink)
        if accept.native:
            sockets.exchange.end(self, accept.handler, accept.run)
        if handshake.done:
            if not accept.native:
                sockets.leave_loop(self, link, accept)
            return
        raw = msgspec.Raw(msgspec.msgpack.encode(self._scope))
        sockets.opened(self, link, handshake, accept, raw)


def check(sockets: Gate, http_protocol: HttpProtocol, target: str, headers: list[tuple[bytes, bytes]]) -> Handshake:
    """Check a handshake; on what RFC 6455 does not allow the answer is sent and the handshake is `done`."""
    proto = sockets.new_protocol()
    handshake = Handshake(sockets, http_protocol, proto)
    http_protocol.transport.set_protocol(handshake)
    pairs = Headers()
    for name, value in headers:
        pairs[name.decode("latin-1")] = value.decode("latin-1")
    response = proto.accept(Request(target, pairs))
    if response.status_code != 101:
        body = response.body if isinstance(response.body, bytes) else b""
        told = page(response.status_code, "bad_handshake", body.decode("utf-8", "replace").strip())
        if response.status_code == 426:
            told = Page(426, [*told.headers, (b"upgrade", b"websocket"), (b"sec-websocket-version", b"13")], told.body)
        elif "sec-websocket-version" in str(response.body).lower():
            told = Page(426, [*told.headers, (b"sec-websocket-version", b"13")], told.body)
        handshake.refuse(told)
        return handshake
    handshake.offered = [
        name.strip() for value in pairs.get_all("Sec-WebSocket-Protocol") for name in value.split(",") if name.strip()
    ]
    origin = pairs.get("Origin")
    if not sockets.allows_origin(origin, pairs.get("Host", "")):
        handshake.refuse(
            page(403, "origin", f"Pages from {origin} may not connect; the setting origins names those that may.")
        )
    lines = [b"HTTP/1.1 101 Switching Protocols"]
    lines += [f"{name}: {value}".encode("latin-1") for name, value in response.headers.raw_items()]
    handshake.accepted = b"\r\n".join(lines)
    return handshake


def response(handshake: Handshake, accept: Accept) -> bytes:
    """The 101 response with what the app adds."""
    lines = [handshake.accepted]
    lines += [b"%s: %s" % pair for pair in outgoing(accept.headers) if pair[0] not in _OURS and b"\n" not in pair[1]]
    if accept.subprotocol and _offered(handshake, accept):
        lines.append(b"Sec-WebSocket-Protocol: " + accept.subprotocol.encode("latin-1", "replace"))
    return b"\r\n".join([*lines, b"", b""])


def _offered(handshake: Handshake, accept: Accept) -> bool:
    """Whether the client knows the subprotocol: it would have to fail the connection otherwise (RFC 6455 §4.1)."""
    if accept.subprotocol in handshake.offered:
        return True
    log.warning(
        "%s chose the subprotocol %r, which the client does not offer (%s): left out",
        accept.handler,
        accept.subprotocol,
        ", ".join(handshake.offered) or "it offers none",
    )
    return False


def _whole(message: Reject) -> list[tuple[bytes, bytes]]:
    headers = [pair for pair in outgoing(message.headers) if pair[0] != b"content-length"]
    return [*headers, (b"content-length", b"%d" % len(message.body))]
