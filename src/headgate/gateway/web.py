"""HTTP through the gateway: a request becomes a call in a lane, and its frames become the response."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from headgate.base.errors import Full
from headgate.gateway.bodies import Body, Disconnected, Spool, TooLarge, TooSlow
from headgate.gateway.calls import Call, Expired, Gone, Lost, TimedOut
from headgate.gateway.exchange import Exchange
from headgate.gateway.heads import BadHead, Trust, outgoing, read
from headgate.gateway.heads import Head as RequestHead
from headgate.gateway.httpproto import CORK, CUT, GONE, REFUSE
from headgate.gateway.pages import Page, page
from headgate.link.messages import Chunk, Fail, Head, Scope

log = logging.getLogger("headgate.gateway")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

NO_BODY: Final = frozenset([204, 304])


class CutShort(Exception):
    """The response cannot be completed: the connection must end so that the client sees it."""


class Requests:
    """Request ids: short, unique to this process and the next ones."""

    def __init__(self) -> None:
        self._prefix = os.urandom(5).hex()
        self._numbers = itertools.count(1)

    def next(self) -> str:
        return f"{self._prefix}{next(self._numbers):08x}"


class Web:
    """Answers the HTTP requests that are for the app.

    Args:
        exchange: where app workers are.
        spool: takes bodies.
        trust: whose X-Forwarded-* counts.
        root_path: the prefix that a proxy serves the app under.
        request_timeout: seconds for the app to begin its answer; 0 for no limit.
    """

    def __init__(
        self, exchange: Exchange, spool: Spool, trust: Trust, *, root_path: str = "", request_timeout: float = 0.0
    ) -> None:
        self._exchange = exchange
        self._spool = spool
        self._trust = trust
        self._root_path = self.root_path = root_path.rstrip("/")
        self._timeout = request_timeout
        self._ids = Requests()
        self.active = 0
        self.stopping = False
        """Nothing new is begun: who comes is asked to come again."""
        self.too_large = 0
        """Bodies beyond `max_body`."""
        self.limited: Counter[str] = Counter()
        """How often a bound of bodies in time was reached, by its setting."""
        self.on_refused: Callable[[Message, RequestHead, int, int, float], None] = lambda *_: None
        """Hears of those that never reach the app: scope, head, status, bytes, seconds."""
        self.on_done: Callable[[Message, RequestHead, Call, int, int], None] | None = None
        """Hears of each request's end: scope, head, call, status, bytes sent (for the access log and metrics)."""

    async def answer(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        if self.stopping:
            self._turn_away(scope)
            return
        self.active += 1
        try:
            await self._answer(scope, receive, send)
        except CutShort as exc:
            log.warning("a response to %s %s was cut short: %s", scope["method"], scope["path"], exc)
            scope[CUT]()
        finally:
            self.active -= 1

    def link_scope(self, scope: Message, head: RequestHead, method: str) -> Scope:
        """What an app worker is told of a request or handshake."""
        path, raw_path, root = scope["path"], scope["raw_path"], self._root_path
        if root and not (path == root or path.startswith(root + "/")):  # ASGI: path includes root_path
            path, raw_path = root + path, root.encode() + raw_path
        return Scope(
            method,
            path,
            raw_path,
            scope["query_string"],
            scope["http_version"],
            head.scheme,
            head.headers,
            head.client,
            scope["server"],
            root,
            head.request_id,
            scope.get("subprotocols", []),
        )

    def handler_of(self, method: str, path: str) -> str:
        """The guess of the rules, without the prefix."""
        root = self._root_path
        return self._exchange.rules.handler(method, path.removeprefix(root) if root else path)

    def read_head(self, scope: Message) -> RequestHead:
        """Read the headers of a request or handshake, and give it an id. Raises `BadHead`."""
        head = read(scope["headers"], scope["client"], scope["scheme"], self._trust)
        if not head.request_id:
            head.request_id = self._ids.next()
        return head

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        try:
            head = self.read_head(scope)
        except BadHead as exc:
            told = page(400, "malformed", f"The request has {exc}. Check the client or the proxy.")
            await _send_page(send, told, b"")
            self._refused(scope, RequestHead(scope["client"], scope["scheme"]), told)
            return
        body = await self._body(scope, head, receive, send) if head.length or head.chunked else _NOTHING
        if body is None:
            return
        method = scope["method"]
        call = Call(
            self._exchange,
            self.handler_of(method, scope["path"]),
            self.link_scope(scope, head, method),
            body,
        )
        status = sent = 0
        try:
            status, sent = await self._run(call, scope, head, send)
        finally:
            # uvicorn's request is a cycle, and the collector comes seldom: the body must not stay with it.
            scope.pop(GONE, None)
            call.let_go()
            if body.path is not None:
                await self._spool.discard(body)
            if self.on_done is not None:
                self.on_done(scope, head, call, status, sent)

    async def _body(self, scope: Message, head: RequestHead, receive: Receive, send: Send) -> Body | None:
        """The whole body; None when there will be none and the client was told."""

        def refuse(told: Page) -> None:
            scope[REFUSE](told)
            self._refused(scope, head, told)

        if head.length > self._spool.most:
            refuse(self._too_large())
            return None
        try:
            return await self._spool.take(receive)
        except TooLarge:
            refuse(self._too_large())
        except TooSlow as exc:
            self.limited[exc.bound] += 1
            refuse(page(408, "upload_too_slow", f"The upload was given up: {exc}."))
        except Disconnected:
            pass
        except OSError as exc:
            log.error("the spool folder %s cannot be written: %s", self._spool.folder, exc)
            told = page(
                507, "spool_full", "The server cannot keep the body: its disk fails or is full.", retry_after=30
            )
            await _send_page(send, told, head.request_id.encode())
            self._refused(scope, head, told)
        return None

    def _turn_away(self, scope: Message) -> None:
        told = page(
            503,
            "stopping",
            "This server is about to stop; the request was not run. Try again.",
            retry_after=1 + 4 * random.random(),  # they are not to come back all at once
        )
        scope[REFUSE](told)
        self._refused(scope, RequestHead(scope["client"], scope["scheme"]), told)

    def _refused(self, scope: Message, head: RequestHead, told: Page) -> None:
        self.on_refused(scope, head, told.status, len(told.body), 0.0)

    def _too_large(self) -> Page:
        self.too_large += 1
        return page(413, "body_too_large", f"The body is over {self._spool.most} bytes, the setting max_body.")

    async def _run(self, call: Call, scope: Message, head: RequestHead, send: Send) -> tuple[int, int]:
        """Have the call run and send its response; returns status and bytes."""
        scope[GONE] = call.client_gone
        request_id = head.request_id.encode()
        try:
            self._exchange.submit(call)
            first = await self._first(call)
        except Full as exc:
            told = page(503, "busy", f"{exc}.", retry_after=exc.retry_after, request_id=head.request_id)
            return await _send_page(send, told, request_id)
        except Gone:
            return 499, 0
        except (Lost, Expired, TimedOut) as exc:
            return await _send_page(send, _failed(exc, call, head.request_id), request_id)
        if isinstance(first, Fail):
            return await _send_page(send, _raised(first, head.request_id), request_id)
        assert isinstance(first, Head)
        if call.handler.endswith(" *") and first.handler != call.handler:
            self._exchange.rules.told(scope["method"], scope["path"], first.handler)
        headless = scope["method"] == "HEAD"
        if not headless and (first.body or not first.more):
            scope[CORK].hold()
        return await _respond(call, first, request_id, headless, send)

    async def _first(self, call: Call) -> Any:
        if not self._timeout:
            return await call.frame()
        timer = asyncio.get_running_loop().call_later(self._timeout, call.give_up, TimedOut())
        try:
            return await call.frame()
        finally:
            timer.cancel()


_NOTHING: Final = Body()


async def _respond(call: Call, first: Head, request_id: bytes, headless: bool, send: Send) -> tuple[int, int]:
    status, body, more = first.status, first.body, first.more
    headers = outgoing(first.headers)
    lengths = [value for name, value in headers if name == b"content-length"]
    if status in NO_BODY or headless:
        body = b""
        if status == 204 and lengths:
            headers = [pair for pair in headers if pair[0] != b"content-length"]
    elif not more and not lengths:
        headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"x-request-id", request_id)]})
    if not more:
        await send({"type": "http.response.body", "body": body})
        return status, len(body)
    return status, await _stream(call, body, status in NO_BODY or headless, send)


async def _stream(call: Call, body: bytes, headless: bool, send: Send) -> int:
    """Pass the rest of a response on; returns its bytes.

    Raises:
        CutShort: the handler failed, or its app worker died; what was sent cannot be made good.
    """
    sent, more, start = 0, True, len(body)
    if body:
        await send({"type": "http.response.body", "body": body, "more_body": True})
        sent += start
        call.passed(start)
    while more:
        try:
            frame = await call.frame()
        except Gone:
            return sent
        except Lost:
            raise CutShort("the app worker was lost in the middle of the response") from None
        if not isinstance(frame, Chunk):
            raise CutShort(f"the handler failed in the middle of the response ({getattr(frame, 'error_id', '')})")
        more = frame.more
        body = b"" if headless else frame.body
        await send({"type": "http.response.body", "body": body, "more_body": more})
        sent += len(body)
        if more:
            call.passed(len(frame.body))
    return sent


async def _send_page(send: Send, told: Page, request_id: bytes) -> tuple[int, int]:
    headers = [*told.headers, (b"x-request-id", request_id)] if request_id else told.headers
    await send({"type": "http.response.start", "status": told.status, "headers": headers})
    await send({"type": "http.response.body", "body": told.body})
    return told.status, len(told.body)


def _failed(exc: Exception, call: Call, request_id: str) -> Page:
    if isinstance(exc, Expired):
        return page(
            503,
            "busy",
            f"No slot of the {call.lane} lane came free in time. The request was not run: try again.",
            retry_after=2,
            request_id=request_id,
        )
    if isinstance(exc, TimedOut):
        return page(
            504,
            "timeout",
            "The app did not begin its answer within request_timeout; it may still be at work on the request. "
            "Work that takes long belongs into a job.",
            request_id=request_id,
        )
    log.error("request %s to %s failed: its app worker was lost", request_id, call.handler)
    return page(
        502,
        "worker_lost",
        "The app process that had this request died. Whether its work was done is not known.",
        retry_after=1,
        error_id=request_id,
        request_id=request_id,
    )


def _raised(fail: Fail, request_id: str) -> Page:
    return page(
        500,
        "internal",
        "The app failed with this request; its log has the traceback under the error id.",
        error_id=fail.error_id,
        request_id=request_id,
    )
