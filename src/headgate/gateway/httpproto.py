"""uvicorn's HTTP/1.1 protocol with what a front server needs besides: bounds on heads, time limits, and a word when
the client of a request goes away (uvicorn tells that only to whoever waits in `receive`).
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final, Protocol, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from headgate.gateway.pages import Page, page

MAX_LINE: Final = 16 * 1024
"""Bytes of a request's target."""
MAX_HEAD: Final = 64 * 1024
"""Bytes of all headers of a request."""
MAX_HEADERS: Final = 200
LINGER: Final = 2.0
"""Seconds for a refused client to take the answer and stop sending."""
GONE: Final = "headgate.gone"
"""The key of a scope under which a request's handler puts what is to be called when its client goes away."""
CUT: Final = "headgate.cut"
"""The key of a scope under which it finds what ends the connection in the middle of a response."""


REFUSE: Final = "headgate.refuse"
"""The key of a scope under which it finds what answers before the body is read, and ends the connection."""


CORK: Final = "headgate.cork"
"""The key of a scope under which it finds the request's `Cork`."""


class Cork:
    """A transport for one response, whose head can be held back to go out with the body in one system call."""

    __slots__ = ("_first", "_held", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._held = False
        self._first: bytes | None = None

    def hold(self) -> None:
        """Keep what is written next until what is written after it, which must follow at once."""
        self._held = True

    def write(self, data: bytes) -> None:
        if self._held:
            self._held, self._first = False, data
        elif self._first is not None:
            first, self._first = self._first, None
            self._transport.write(first + data)
        else:
            self._transport.write(data)

    def close(self) -> None:
        if self._first is not None:
            first, self._first = self._first, None
            self._transport.write(first)
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


class Front(Protocol):
    """What the protocol needs of the gateway."""

    def pass_on(self, transport: asyncio.Transport) -> bool:
        """Whether another gateway takes the connection instead."""

    def arrive(self, protocol: HttpProtocol) -> Page | None:
        """A client connected; a page refuses it."""

    def depart(self) -> None:
        """A connection that arrived is gone."""

    def upgrade(self, protocol: HttpProtocol, target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """A WebSocket handshake came; the gateway takes the transport over."""


class HttpProtocol(HttpToolsProtocol):
    """One HTTP/1.1 connection."""

    front: Front

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.front = cast(Front, self.config.loaded_app)
        self.head_since: float | None = None
        """When the head that is not complete yet began (loop time); None between requests."""
        self._head_bytes = 0
        self._raw_head = 0
        self._refusal: Page | None = None
        self._departed = False
        self._lingering: asyncio.TimerHandle | None = None
        self.upgraded = False
        self.adopted = False
        """Another gateway accepted it, and it stays here."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if not self.adopted and self.front.pass_on(transport):
            self.transport = transport
            self._departed = True
            transport.abort()  # closes our descriptor; the other gateway has its own
            return
        super().connection_made(transport)
        self.head_since = self.loop.time()
        refusal = self.front.arrive(self)
        if refusal is not None:
            self.refuse(refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        cycle = self.cycle
        waiting = [cycle, *(queued for queued, _ in self.pipeline)] if cycle is not None else []
        super().connection_lost(exc)
        if self._lingering is not None:
            self._lingering.cancel()
        self.leave()
        for one in waiting:
            if not one.response_complete:
                gone = cast(dict[str, Any], one.scope).get(GONE)
                if gone is not None:
                    gone()

    def leave(self) -> None:
        """Count the connection no more (once): it is gone, or a WebSocket."""
        if not self._departed:
            self._departed = True
            self.front.depart()

    def hand_over(self) -> None:
        """A WebSocket takes the connection over, and its count with it."""
        self._departed = True

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing() or self._lingering is not None:
            return
        super().data_received(data)
        if self.head_since is not None and not self.upgraded and not self.transport.is_closing():
            self._raw_head += len(data)  # a head that never ends does not reach on_header
            if self._raw_head > MAX_HEAD + MAX_LINE:
                self.refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self.head_since is None:
            self.head_since = self.loop.time()
        self._head_bytes = self._raw_head = 0
        scope = cast(dict[str, Any], self.scope)
        scope[CUT], scope[REFUSE] = self.cut, self.refuse

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_LINE:
            self._refusal = _TOO_LONG
            raise httptools.HttpParserError("target too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD or len(self.headers) > MAX_HEADERS:
            self._refusal = _TOO_LARGE
            raise httptools.HttpParserError("head too large")

    def on_headers_complete(self) -> None:
        refusal = self._judge()
        if refusal is not None:
            self._refusal = refusal
            raise httptools.HttpParserError("refused")
        self.head_since = None
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            cork = Cork(self.transport)
            self.cycle.transport = cast(asyncio.Transport, cork)
            cast(dict[str, Any], self.scope)[CORK] = cork

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._raw_head = 0

    def send_400_response(self, msg: str) -> None:
        self.refuse(self._refusal or _MALFORMED)

    def refuse(self, refusal: Page) -> None:
        """Answer with a page of ours and end the connection.

        What still comes is read and dropped for a moment: closing on unread bytes would reset the connection, and
        the client might not see the page (RFC 9112 §9.6).
        """
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started:
                self.cut()
                return
            cycle.disconnected = True
            cycle.message_event.set()
        if self._lingering is None and not self.transport.is_closing():
            self.transport.write(refusal.wire())
            self.transport.write_eof()
            self.flow.resume_reading()
            self._lingering = self.loop.call_later(LINGER, self.transport.close)

    def late(self, now: float, limit: float) -> bool:
        """Whether the head of a request has been under way for longer than `limit` seconds."""
        return self.head_since is not None and now - self.head_since > limit

    def refuse_late(self) -> None:
        """End a connection whose head does not come; one that never sent a byte gets none either."""
        if self._raw_head:
            self.refuse(_LATE)
        else:
            self.transport.close()

    def cut(self) -> None:
        """End the connection so that the client sees an incomplete response."""
        self.cycle.disconnected = True
        self.transport.close()

    def handle_websocket_upgrade(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self.refuse(_MALFORMED)  # a handshake behind a request that is not answered yet
            return
        if self.parser.get_method() != b"GET":
            self.refuse(_ONLY_GET)
            return
        self.connections.discard(self)
        self.upgraded = True
        self.head_since = None
        self.front.upgrade(self, self.url, self.headers)

    def _judge(self) -> Page | None:
        """What llhttp lets through and we do not (RFC 9112 §3.2: exactly one Host)."""
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            return _HOST
        if hosts and not _HOST_SHAPE.fullmatch(hosts[0]):
            return _HOST
        if self.parser.get_method() == b"CONNECT":
            return _NO_CONNECT
        return None


_HOST_SHAPE: Final = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]*")
_MALFORMED: Final = page(400, "malformed", "This is no valid HTTP/1.1 request. Check what the client sends.")
_TOO_LONG: Final = page(
    414, "target_too_long", f"The request's target is longer than {MAX_LINE} bytes. Send less in the URL."
)
_TOO_LARGE: Final = page(
    431,
    "headers_too_large",
    f"The headers are more than {MAX_HEAD} bytes or {MAX_HEADERS} lines. Send fewer (cookies?).",
)
_HOST: Final = page(400, "bad_host", "A request needs exactly one valid Host header. Check the client or the proxy.")
_LATE: Final = page(408, "head_too_slow", "The request's head did not come in time. Send it in one go.")
_ONLY_GET: Final = page(405, "method_not_allowed", "A WebSocket begins with GET.", headers=((b"allow", b"GET"),))
_NO_CONNECT: Final = page(405, "method_not_allowed", "CONNECT is for proxies, and this is none.")
