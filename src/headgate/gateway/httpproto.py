"""uvicorn's HTTP/1.1 protocol with what a front server needs besides: bounds on heads, time limits, strict framing, and
a word when the client of a request goes away (uvicorn tells that only to whoever waits in `receive`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final, Protocol, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from headgate.gateway import judge
from headgate.gateway.cork import Cork, Sent, in_kernel
from headgate.gateway.pages import Page, page
from headgate.gateway.proxyproto import Endpoints

LINGER: Final = 2.0
"""Seconds for a refused client to take the answer and stop sending."""
OVERHEAD: Final = 64 * 1024
"""Bytes of chunk sizes and extensions that a body may have beyond eight for each byte of content."""
GONE: Final = "headgate.gone"
"""The key of a scope under which a request's handler puts what is to be called when its client goes away."""
CUT: Final = "headgate.cut"
"""The key of a scope under which it finds what ends the connection in the middle of a response."""
REFUSE: Final = "headgate.refuse"
"""The key of a scope under which it finds what answers before the body is read, and ends the connection."""
CORK: Final = "headgate.cork"
"""The key of a scope under which it finds the request's `Cork`."""


class Front(Protocol):
    """What the protocol needs of the gateway."""

    limits: judge.Limits
    limited: Counter[str]
    """How often each was reached."""

    def pass_on(self, transport: asyncio.Transport) -> bool:
        """Whether another gateway takes the connection instead."""

    def arrive(self, protocol: HttpProtocol) -> Page | None:
        """A client connected; a page refuses it."""

    def depart(self) -> None:
        """A connection that arrived is gone."""

    def upgrade(self, protocol: HttpProtocol, target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """A WebSocket handshake came; the gateway takes the transport over."""


class _Defaults(list[tuple[bytes, bytes]]):
    """uvicorn's own response headers (Date), which give way to those of the same name that the app sends."""

    def __add__(self, told: list[Any]) -> list[Any]:
        names = {name.lower() for name, _ in told}
        return [pair for pair in self if pair[0] not in names] + told


class _Unbounded:
    """In the place of uvicorn's count of what is left of a response: its end is the connection's."""

    def __lt__(self, size: int) -> bool:
        return False

    def __isub__(self, size: int) -> _Unbounded:
        return self

    def __ne__(self, rest: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


class HttpProtocol(HttpToolsProtocol):
    """One HTTP/1.1 connection."""

    front: Front

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.front = cast(Front, self.config.loaded_app)
        self.head_since: float | None = None
        """When the head that is not complete yet began (loop time); None between requests."""
        self.sent = Sent()
        self._limits = self.front.limits
        self._head_bytes = 0
        self._raw_head = 0
        self._heads = 0
        self._in_body = False
        self._content = self._framing = 0
        self._again = False
        self._refusal: Page | None = None
        self._last_word: Page | None = None
        self._departed = False
        self._lingering: asyncio.TimerHandle | None = None
        self.upgraded = False
        self.adopted = False
        """Another gateway accepted it, and it stays here."""
        self.admitted = False
        """The door has let it in and counted it."""
        self.endpoints: Endpoints | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if not self.adopted and not self.admitted and self.front.pass_on(transport):
            self.transport = transport
            self._departed = True
            transport.abort()  # closes our descriptor; the other gateway has its own
            return
        super().connection_made(transport)
        self.be_told()
        self.head_since = self.loop.time()
        refusal = None if self.admitted else self.front.arrive(self)
        if refusal is not None:
            self.refuse(refusal)

    def be_told(self) -> None:
        """Take the endpoints that the proxy told for the connection's."""
        told = self.endpoints
        if told is not None:
            self.client, self.server = told.client or self.client, told.server or self.server
            if told.secure:
                self.scheme = "https"

    def connection_lost(self, exc: Exception | None) -> None:
        cycle = self.cycle
        waiting = [cycle, *(queued for queued, _ in self.pipeline)] if cycle is not None else []
        super().connection_lost(exc)
        if self._lingering is not None:
            self._lingering.cancel()
        self.leave()
        self.pipeline.clear()
        for one in waiting:
            gone = cast(dict[str, Any], one.scope).pop(GONE, None)
            if gone is not None and not one.response_complete:
                gone()
        self._let_go()

    def _let_go(self) -> None:
        """Give up what refers back to this connection: it need not wait for the collector, which comes seldom here.

        A request that is still being answered keeps its scope, and with it the connection, until it ends.
        """
        self.scope, self.cycle = cast(Any, None), cast(RequestResponseCycle, None)

    def leave(self) -> None:
        """Count the connection no more (once): it is gone, or a WebSocket."""
        if not self._departed:
            self._departed = True
            self.front.depart()

    def hand_over(self) -> None:
        """A WebSocket takes the connection over, and its count with it."""
        self._departed = True

    # what comes in

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing() or self._lingering is not None or self._last_word is not None:
            return
        self._unset_keepalive_if_required()
        if self.head_since is None and not self._busy():  # a head begins, or the rest of a body that nobody reads
            self.head_since, self._raw_head = self.loop.time(), 0
        heads, under_way = self._heads, self.head_since is not None or self._in_body
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self._upgrade(data[exc.args[0] :])
            return
        except httptools.HttpParserError:
            self._broken()
            return
        if not self.upgraded and not self.transport.is_closing():
            self._measure(len(data), whole=under_way and heads == self._heads)

    def _measure(self, size: int, *, whole: bool) -> None:
        """Bound what reaches no callback: a head that never ends, a leftover body, chunk extensions."""
        if self.head_since is not None:
            self._raw_head += size if whole else 1
            if self._raw_head > self._limits.head + self._limits.target:
                self.front.limited["max_head"] += 1
                self._last(judge.too_large(self._limits))
        elif self._in_body and whole:
            self._framing += size
            if self._framing > OVERHEAD + 9 * self._content:
                self.refuse(_FRAMING)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self.head_since is None:
            self.head_since = self.loop.time()
        self._head_bytes = self._raw_head = 0
        scope = cast(dict[str, Any], self.scope)
        scope[CUT], scope[REFUSE] = self.cut, self.refuse

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self._limits.target:
            self.front.limited["max_target"] += 1
            self._refusal = judge.too_long(self._limits)
            raise httptools.HttpParserError("target too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if not self._in_body:  # else it is a trailer, which must not pass for a header (RFC 9110 §6.5.1): dropped
            super().on_header(name, value)
        if self._head_bytes > self._limits.head or len(self.headers) > self._limits.headers:
            self.front.limited["max_head" if self._head_bytes > self._limits.head else "max_headers"] += 1
            self._refusal = judge.too_large(self._limits)
            raise httptools.HttpParserError("head too large")

    def on_headers_complete(self) -> None:
        handshake = self.parser.should_upgrade() and self._should_upgrade()
        method, version = self.parser.get_method(), self.parser.get_http_version()
        refusal = judge.refusal(method, self.url, version, self.headers, handshake=handshake)
        if refusal is not None:
            self._refusal = refusal
            raise httptools.HttpParserError("refused")
        self.url = judge.origin_form(self.url)
        self._again = not handshake and self.parser.should_upgrade() and judge.has_body(self.headers)
        if self._again:
            return
        self.head_since = None
        self._heads += 1
        self._in_body = True
        self._content = self._framing = 0
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            cork = Cork(self.transport, self.sent)
            self.cycle.transport = cast(asyncio.Transport, cork)
            self.cycle.default_headers = _Defaults(self.cycle.default_headers)
            cast(dict[str, Any], self.scope)[CORK] = cork
            if version == "1.0":  # such a client knows no chunks (RFC 9112 §7.1)
                self.cycle.chunked_encoding, self.cycle.expected_content_length = False, cast(int, _Unbounded())

    def on_body(self, body: bytes) -> None:
        self._content += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._again:
            return
        self._in_body = False
        super().on_message_complete()
        if not self.pipeline:  # a large piece of the body stopped the reading: that the client goes is to be seen
            self.flow.resume_reading()
        if not self._busy():  # the end of a body whose request was answered before
            self.head_since, self._raw_head = self.loop.time(), 0

    def on_response_complete(self) -> None:
        last = not self.pipeline
        super().on_response_complete()
        if self.head_since is not None:  # the next head has waited for this response: its time begins now
            self.head_since = self.loop.time()
        if last and self._last_word is not None:
            self.refuse(self._last_word)

    def _busy(self) -> bool:
        """Whether a request is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    # what is refused

    def _broken(self) -> None:
        """What came is no HTTP, or was refused on the way."""
        told, self._refusal = self._refusal or _MALFORMED, None
        if not self._in_body:
            self._last(told)
        elif self.pipeline and self.pipeline[0][0] is self.cycle:  # behind others, and not begun
            self.pipeline.popleft()
            self._last(told, behind=True)
        else:
            self.refuse(told)

    def _last(self, told: Page, *, behind: bool = False) -> None:
        """Refuse what comes behind requests that are not answered yet: after their answers."""
        if behind or self._busy():
            self._last_word = told
            self.flow.pause_reading()
        else:
            self.refuse(told)

    def send_400_response(self, msg: str) -> None:
        self.refuse(_MALFORMED)

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
            wire = refusal.wire()
            self.sent.bytes += len(wire)
            self.transport.write(wire)
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self.flow.resume_reading()
            self._lingering = self.loop.call_later(LINGER, self.transport.close)

    def late(self, now: float, limit: float) -> bool:
        """Whether the head of a request has been under way for longer than `limit` seconds."""
        waits = self._lingering is None and not self.transport.is_closing() and not self._busy()
        return waits and self.head_since is not None and now - self.head_since > limit

    def refuse_late(self) -> None:
        """End a connection whose head does not come; one that never sent a byte gets none either."""
        if self._raw_head and not self._in_body:
            self.refuse(_LATE)
        else:
            self.transport.close()

    def stalled(self, now: float) -> float:
        """Seconds for which the client has taken nothing of what there is for it."""
        unsent = self.transport.get_write_buffer_size()
        return self.sent.stalled(unsent + in_kernel(self.transport) if unsent else 0, now)

    def abort(self) -> None:
        """End the connection without waiting for the client to take anything."""
        if self.cycle is not None:
            self.cycle.disconnected = True
        self.transport.abort()

    def cut(self) -> None:
        """End the connection so that the client sees an incomplete response."""
        if self.cycle is not None:
            self.cycle.disconnected = True
        self.transport.close()

    # WebSockets

    def _upgrade(self, rest: bytes) -> None:
        """The head asked for another protocol; `rest` came behind it."""
        if self._should_upgrade():
            self.handle_websocket_upgrade()
            taker = self.transport.get_protocol()
            if rest and taker is not self and not self.transport.is_closing():
                cast(asyncio.Protocol, taker).data_received(rest)
        elif self._again:
            self._parse_again(rest)
        elif rest:  # h2c and the like: ignored, and what follows is the next request (RFC 9110 §7.8)
            self.data_received(rest)

    def _parse_again(self, rest: bytes) -> None:
        """Read a request with a body once more without its wish for another protocol.

        httptools takes such a request to end with its head. Its body would be read as the next request: a way to
        smuggle one past a proxy that knows better.
        """
        self._again = False
        method, version = self.parser.get_method(), self.parser.get_http_version()
        head = judge.without_upgrade(method, self.url, version, self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(head + rest)

    def handle_websocket_upgrade(self) -> None:
        if self._busy():
            self._last(_MALFORMED)  # a handshake behind a request that is not answered yet
            return
        if self.parser.get_method() != b"GET":
            self.refuse(_ONLY_GET)
            return
        self.connections.discard(self)
        self.upgraded = True
        self.head_since = None
        self.front.upgrade(self, self.url, self.headers)
        self.parser = cast(httptools.HttpRequestParser, None)  # what comes from here on is the handshake's
        self._let_go()


_MALFORMED: Final = page(400, "malformed", "This is no valid HTTP/1.1 request. Check what the client sends.")
_FRAMING: Final = page(400, "malformed", "The body has far more chunk framing than content. Send larger chunks.")
_LATE: Final = page(408, "head_too_slow", "The request's head did not come in time. Send it in one go.")
_ONLY_GET: Final = page(405, "method_not_allowed", "A WebSocket begins with GET.", headers=((b"allow", b"GET"),))
