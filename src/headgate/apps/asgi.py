"""Runs an ASGI app for HTTP requests and WebSockets (ASGI 3.0, HTTP and WebSocket spec 2.4) on the worker's loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import IO, Any, Final

from headgate.apps.asgi_stream import AsgiStream, Headers
from headgate.apps.exchange import ClientGone
from headgate.apps.failures import report
from headgate.base.errors import HeadgateError
from headgate.base.jobcontext import WORK
from headgate.link.messages import Accept, Consumed, Fail, Hangup, Open, Reject, Request, Scope
from headgate.link.session import PIECE

log = logging.getLogger("headgate.app")

Event = MutableMapping[str, Any]
AsgiApp = Callable[[Event, Callable[[], Awaitable[Event]], Callable[[Event], Awaitable[None]]], Awaitable[None]]

VERSIONS: Final = {"version": "3.0", "spec_version": "2.4"}
_FORBIDDEN: Final = b"The app does not accept this connection.\n"


class AsgiViolation(HeadgateError):
    """The app sent what the ASGI specification does not allow at this point."""


def http_scope(scope: Scope, state: dict[str, Any]) -> Event:
    """The connection scope of a request."""
    return {**_scope(scope, state), "type": "http", "method": scope.method, "extensions": {}}


def websocket_scope(scope: Scope, state: dict[str, Any]) -> Event:
    """The connection scope of a handshake."""
    secure = scope.scheme in ("wss", "https")
    return {
        **_scope(scope, state),
        "type": "websocket",
        "scheme": "wss" if secure else "ws",
        "subprotocols": list(scope.subprotocols),
        "extensions": {"websocket.http.response": {}},
    }


def _scope(scope: Scope, state: dict[str, Any]) -> Event:
    return {
        "asgi": dict(VERSIONS),
        "http_version": scope.http_version,
        "scheme": scope.scheme,
        "path": scope.path,
        "raw_path": scope.raw_path,
        "query_string": scope.query,
        "root_path": scope.root_path,
        "headers": list(scope.headers),
        "client": scope.client,
        "server": scope.server,
        "state": state.copy(),
    }


class HttpCall:
    """One request: the app's `receive` and `send`.

    Args:
        stream: where the response goes.
        request: with its whole body.
    """

    def __init__(self, stream: AsgiStream, request: Request) -> None:
        self._stream = stream
        self._request = request
        self._since = time.perf_counter()
        self._file: IO[bytes] | None = None
        self._asked = False
        self._status = 0
        self._headers: Headers = []
        self._begun = False
        self.complete = False
        self._over = asyncio.Event()
        stream.on_cancel = self._over.set

    @property
    def run_time(self) -> float:
        """Seconds since the request was begun."""
        return time.perf_counter() - self._since

    async def run(self, app: AsgiApp, state: dict[str, Any]) -> None:
        """Answer the request. Raises nothing."""
        stream = self._stream
        WORK.set(stream.handler)
        try:
            await app(http_scope(self._request.scope, state), self.receive, self.send)
            if not self.complete and not stream.cancelled:
                raise AsgiViolation("the app returned before its response was complete")
        except asyncio.CancelledError:
            raise
        except BaseException as exc:
            self._failed(exc)
        finally:
            if self._file is not None:
                self._file.close()
            if stream.cancelled and not self.complete:
                stream.link.send(Fail(stream.stream, stream.handler, "", self.run_time))
            stream.link.finished(stream.stream)

    async def receive(self) -> Event:
        """The next event of the request."""
        if not self._asked:
            return self._body()
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def send(self, event: Event) -> None:
        """Take an event of the response. Raises `ClientGone`, `AsgiViolation`."""
        kind = event["type"]
        if self._stream.cancelled:
            raise ClientGone("the client has gone away: stop sending")
        if kind == "http.response.start" and not self._status:
            self._status = event["status"]
            self._headers = _headers(event)
        elif kind == "http.response.body" and self._status and not self.complete:
            await self._send_body(event.get("body", b""), event.get("more_body", False))
        else:
            raise AsgiViolation(f"{kind} cannot be sent now (ASGI HTTP specification)")

    async def _send_body(self, body: bytes, more: bool) -> None:
        if self._request.scope.method == "HEAD" or self._status in (204, 304):
            body, more = b"", False if self._begun else more
        self.complete = not more
        if self._begun:
            await self._stream.chunk(bytes(body), more, self.run_time)
        else:
            self._begun = True
            await self._stream.head(self._status, self._headers, bytes(body), more, self.run_time)
        if self.complete:
            self._over.set()

    def _body(self) -> Event:
        request = self._request
        if request.body_path is None:
            self._asked = True
            return {"type": "http.request", "body": request.body, "more_body": False}
        if self._file is None:
            self._file = open(request.body_path, "rb")  # noqa: SIM115 - closed at the end of the call
        block = self._file.read(PIECE)
        self._asked = len(block) < PIECE
        return {"type": "http.request", "body": block, "more_body": not self._asked}

    def _failed(self, exc: BaseException) -> None:
        stream = self._stream
        if stream.cancelled:
            return  # ClientGone, or what the app made of it
        if self.complete:
            report(exc, stream.handler, "after its response was complete")
            return
        stream.link.send(Fail(stream.stream, stream.handler, report(exc, stream.handler), self.run_time))


class WebSocketCall:
    """One WebSocket: the app's `receive` and `send`, and what the link feeds it.

    Args:
        stream: where its messages go.
        message: the handshake.
        consumed_step: messages after which the gateway is told that they were taken.
    """

    def __init__(self, stream: AsgiStream, message: Open, consumed_step: int = 16) -> None:
        self._stream = stream
        self._scope = message.scope
        self._step = consumed_step
        self._since = time.perf_counter()
        self._events: deque[Event] = deque([{"type": "websocket.connect"}])
        self._wake = asyncio.Event()
        self._taken = 0
        self._accepted = False
        self._ended = False
        self._denial: tuple[int, Headers, list[bytes]] | None = None
        stream.on_cancel = lambda: self.closed(1006, "")

    async def run(self, app: AsgiApp, state: dict[str, Any]) -> None:
        """Run the app for this socket to its end. Raises nothing."""
        stream = self._stream
        WORK.set(stream.handler)
        try:
            await app(websocket_scope(self._scope, state), self.receive, self.send)
        except asyncio.CancelledError:
            raise
        except ClientGone:
            self._end(1001, "")
        except BaseException as exc:
            self._failed(exc)
        else:
            if self._accepted or stream.cancelled:
                self._end(1000, "")
            elif not self._ended:
                self._failed(AsgiViolation("the app returned without accepting or closing the WebSocket"))
        finally:
            stream.link.finished(stream.stream)

    async def receive(self) -> Event:
        """The next event of the socket."""
        while not self._events:
            self._wake.clear()
            await self._wake.wait()
        event = self._events[0]
        if event["type"] != "websocket.disconnect":  # that one stays: whoever asks again is told again
            self._events.popleft()
        if event["type"] == "websocket.receive":
            self._taken += 1
            if self._taken >= self._step:
                self._stream.link.send(Consumed(self._stream.stream, self._taken))
                self._taken = 0
        return event

    async def send(self, event: Event) -> None:
        """Take an event of the app. Raises `ClientGone`, `AsgiViolation`."""
        kind = event["type"]
        if self._ended or self._stream.cancelled:
            raise ClientGone("the connection has ended")
        if kind == "websocket.accept" and not self._accepted:
            self._accept(event)
        elif kind == "websocket.send" and self._accepted:
            await self._stream.push(_payload(event))
        elif kind == "websocket.close":
            self._close(event.get("code", 1000), event.get("reason") or "")
        elif kind == "websocket.http.response.start" and not self._accepted:
            self._denial = (event["status"], _headers(event), [])
        elif kind == "websocket.http.response.body" and self._denial is not None:
            self._denial[2].append(event.get("body", b""))
            if not event.get("more_body", False):
                self._reject(self._denial[0], self._denial[1], b"".join(self._denial[2]))
        else:
            raise AsgiViolation(f"{kind} cannot be sent now (ASGI WebSocket specification)")

    # on the link

    def feed(self, data: str | bytes) -> None:
        """A message of the client."""
        text = isinstance(data, str)
        self._put({"type": "websocket.receive", "text": data if text else None, "bytes": None if text else data})

    def closed(self, code: int, reason: str) -> None:
        """The client is gone."""
        if not self._ended:
            self._put({"type": "websocket.disconnect", "code": code, "reason": reason})
            self._stream.on_cancel = None
            self._stream.cancel()

    def stop(self) -> None:
        """The worker ends: the client is told to come back, the app that it is gone."""
        self._end(1012, "the server restarts; connect again")
        self._put({"type": "websocket.disconnect", "code": 1012, "reason": ""})

    def _put(self, event: Event) -> None:
        self._events.append(event)
        self._wake.set()

    def _accept(self, event: Event) -> None:
        stream = self._stream
        self._accepted = True
        run = time.perf_counter() - self._since
        stream.link.send(
            Accept(stream.stream, False, stream.handler, event.get("subprotocol"), _headers(event), {}, {}, [], run)
        )

    def _close(self, code: int, reason: str) -> None:
        if self._accepted:
            self._end(code, reason)
            self._put({"type": "websocket.disconnect", "code": code, "reason": reason})
        else:
            self._reject(403, [(b"content-type", b"text/plain; charset=utf-8")], _FORBIDDEN)

    def _reject(self, status: int, headers: Headers, body: bytes) -> None:
        stream = self._stream
        self._ended = True
        if stream.link.finished(stream.stream):
            run = time.perf_counter() - self._since
            stream.link.send(Reject(stream.stream, status, headers, body, stream.handler, run))

    def _end(self, code: int, reason: str) -> None:
        stream = self._stream
        self._ended = True
        if stream.link.finished(stream.stream):
            stream.link.send(Hangup(stream.stream, code, reason))

    def _failed(self, exc: BaseException) -> None:
        stream = self._stream
        error_id = report(exc, stream.handler)
        if self._accepted:
            self._end(1011, f"error {error_id}")
        elif stream.link.finished(stream.stream):
            run = time.perf_counter() - self._since
            stream.link.send(Fail(stream.stream, stream.handler, error_id, run))


def _headers(event: Event) -> Headers:
    return [(bytes(name).lower(), bytes(value)) for name, value in event.get("headers", ())]


def _payload(event: Event) -> str | bytes:
    text = event.get("text")
    if text is not None:
        return str(text)
    data = event.get("bytes")
    if data is None:
        raise AsgiViolation("websocket.send needs text or bytes")
    return bytes(data)
