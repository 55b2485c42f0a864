"""An HTTP/1.1 user: keep-alive connections like a browser's, requests that do not wait for each other.

A click is one request. When the user's connections are busy another is opened, up to six (what
browsers do for one host, RFC 9112 §9.4); beyond that requests wait, and their waiting is measured.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import urljoin, urlsplit

import httptools
import msgspec

from headgate.simulate.errors import TargetError
from headgate.simulate.wire.port import HttpSink, WireOptions

CONNECTIONS_PER_USER: Final = 6
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""What may be sent again unasked (RFC 9110 §9.2.2)."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request; `path` may be absolute, relative to the target's URL, or empty for the target itself.

    A `body` that is neither bytes, str nor None is sent as JSON.
    """

    method: str = "GET"
    path: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What came back. `click_id` is the click that the request belongs to, None for a scenario's own.

    `status` is 0 when the connection broke before a whole response came; `request` is what was asked.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    click_id: int | None
    request: HttpRequest

    def json(self) -> Any:
        """The body, decoded; None when it is not JSON."""
        try:
            return msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            return None


Ask = tuple[HttpRequest, int | None]


class HttpWire:
    """One user's connections to the target."""

    def __init__(self, options: WireOptions, sink: HttpSink) -> None:
        self.options = options
        self.sink = sink
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._queue: deque[Ask] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._paused = False
        self._closed = False
        self._left = False
        """The user went, and hears of nothing any more."""

    async def open(self) -> None:
        """One connection, so that an unreachable target is known at once; HTTP has no handshake."""
        self._idle.append(await self._connect())

    def send(self, message: Any, click_id: int | None = None) -> None:
        """Send a request, on an idle connection, a new one, or when one becomes free."""
        if not isinstance(message, HttpRequest):
            raise TypeError(f"an HTTP click must be an HttpRequest, not {type(message).__name__}")
        self._queue.append((message, click_id))
        self._pump()

    def close(self) -> None:
        self._closed = self._left = True
        for connection in list(self._all):
            connection.close()
        for task in self._opening:
            task.cancel()
        self._tell_closed(1000, "")

    def abort(self) -> None:
        """Cut all connections; what was under way has failed, and the user comes back.

        A click's answer that is cut off is the run's own doing. A request about an earlier click is told as failed,
        as a page sees it, which asks again.
        """
        for connection in list(self._all):
            connection.abort()
        waiting, self._queue = self._queue, deque()
        self._tell_closed(1006, "")
        for ask in waiting:
            self._cut_off(ask)

    def pause(self) -> None:
        self._paused = True
        for connection in self._all:
            connection.pause(True)

    def resume(self) -> None:
        self._paused = False
        for connection in self._all:
            connection.pause(False)

    def free(self, connection: _Connection) -> None:
        """A response is complete and its connection can be used again."""
        self._idle.append(connection)
        self._pump()

    def gone(self, connection: _Connection, failed: Ask | None, received: bool) -> None:
        """A connection closed; a request under way has failed with it."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if failed is not None and not self._closed:
            if connection.used > 1 and not received and failed[0].method in IDEMPOTENT:
                # The server may have closed an idle connection just as it was used again (RFC 9112 §9.3.1).
                self._queue.appendleft(failed)
                self.sink.retried()
            else:
                self._break(failed)
        elif failed is not None and not self._left:
            self._cut_off(failed)
        if not self._closed:
            self._pump()

    def received(self, response: HttpResponse, at: float) -> None:
        self._deliver(response, at)

    def _deliver(self, response: HttpResponse, at: float) -> None:
        if not self._closed:
            self.sink.received(response, at)

    def _tell_closed(self, code: int, reason: str) -> None:
        self._closed = True
        # The user's own call is on the stack: it must not hear of the end before it returns.
        self.options.loop.call_soon(self.sink.closed, code, reason)

    def _pump(self) -> None:
        while self._queue and self._idle:
            connection = self._idle.pop()
            if connection.usable:
                connection.ask(*self._queue.popleft())
        busy = len(self._all) + len(self._opening)
        wanted = min(len(self._queue) - len(self._opening), CONNECTIONS_PER_USER - busy)
        for _ in range(max(wanted, 0)):
            task = self.options.loop.create_task(self._widen())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _widen(self) -> None:
        try:
            connection = await self._connect()
        except TargetError:
            if not self._all:
                self._refuse()
            return
        self._idle.append(connection)
        self.options.loop.call_soon(self._pump)

    def _refuse(self) -> None:
        """Nothing can be reached: the requests that no other try is left for have failed."""
        others = sum(not task.done() for task in self._opening) - 1
        while len(self._queue) > others and not self._closed:
            self._break(self._queue.popleft())

    def _break(self, ask: Ask) -> None:
        request, click_id = ask
        self._deliver(HttpResponse(0, {}, b"", click_id, request), time.monotonic())

    def _cut_off(self, ask: Ask) -> None:
        request, click_id = ask
        if click_id is None:
            self.sink.received(HttpResponse(0, {}, b"", None, request), time.monotonic())

    async def _connect(self) -> _Connection:
        options = self.options
        parts = urlsplit(options.url)
        tls = options.tls if parts.scheme == "https" else None
        host, port = parts.hostname or "127.0.0.1", parts.port or (443 if tls else 80)
        sock = await options.sources.connect(host, port, options.timeout)
        connection = _Connection(self)
        try:
            async with asyncio.timeout(options.timeout):
                await options.loop.create_connection(
                    lambda: connection, sock=sock, ssl=tls, server_hostname=host if tls else None
                )
        except TimeoutError:
            raise TargetError(f"{host}:{port} did not finish the TLS handshake in {options.timeout:g} s") from None
        except OSError as error:
            raise TargetError(f"{host}:{port} broke the connection: {error}") from None
        self._all.add(connection)
        connection.pause(self._paused)
        return connection


class _Connection(asyncio.Protocol):
    """One keep-alive connection: one request at a time."""

    def __init__(self, wire: HttpWire) -> None:
        self._wire = wire
        self._transport: asyncio.Transport | None = None
        self._asked: Ask | None = None
        self._parser: Any = None
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._received = False
        self._complete = False
        self._keep = False
        self.used = 0

    def ask(self, request: HttpRequest, click_id: int | None) -> None:
        """Send a request; the wire hears of the response."""
        self._asked = (request, click_id)
        self._received = self._complete = self._keep = False
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._body = {}, []
        self.used += 1
        if self._transport is not None:
            self._transport.write(_serialise(request, self._wire.options))

    @property
    def usable(self) -> bool:
        """Whether the connection is open, as far as is known here."""
        return self._transport is not None and not self._transport.is_closing()

    def pause(self, paused: bool) -> None:
        if self._transport is not None and not self._transport.is_closing():
            (self._transport.pause_reading if paused else self._transport.resume_reading)()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        at = time.monotonic()
        self._received = True
        if self._parser is None:
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()
            return
        if self._complete:
            self._finish(at)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._ends_with_the_connection():
            self._finish(time.monotonic())
        asked, self._asked = self._asked, None
        self._wire.gone(self, asked, self._received)

    def _ends_with_the_connection(self) -> bool:
        """A response that names no length is complete when the server closes (RFC 9112 §6.3)."""
        if self._asked is None or self._parser is None or not self._headers:
            return False
        return not {"content-length", "transfer-encoding"} & self._headers.keys()

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._asked is not None and self._asked[0].method == "HEAD":
            self._complete = True  # its Content-Length is of a body that does not come

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        # A 1xx response is not the answer (RFC 9110 §15.2).
        if self._parser.get_status_code() >= 200:
            self._complete = True
            # The parser knows this only here: once fed, it is at the next message.
            self._keep = self._parser.should_keep_alive()

    def _finish(self, at: float) -> None:
        assert self._asked is not None
        request, click_id = self._asked
        self._asked = None
        status = self._parser.get_status_code()
        self._parser = None
        self._wire.received(HttpResponse(status, self._headers, b"".join(self._body), click_id, request), at)
        if self._keep and self._transport is not None:
            self._wire.free(self)
        else:
            self.close()


def _serialise(request: HttpRequest, options: WireOptions) -> bytes:
    parts = urlsplit(urljoin(options.url, request.path))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    body = request.body
    headers = {"Host": urlsplit(options.url).netloc.rpartition("@")[2], "Accept": "*/*", **options.headers}
    if body is None:
        payload = b""
    elif isinstance(body, bytes | str):
        payload = body.encode() if isinstance(body, str) else body
    else:
        payload = msgspec.json.encode(body)
        headers["Content-Type"] = "application/json"
    headers.update(request.headers)
    if payload or request.method not in ("GET", "HEAD", "DELETE"):
        headers["Content-Length"] = str(len(payload))
    head = f"{request.method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    return head.encode("latin-1") + b"\r\n" + payload
