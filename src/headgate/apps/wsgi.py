"""Runs a WSGI app for one request on the calling thread (PEP 3333)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import IO, Any

from headgate.apps.environ import EnvironMaker
from headgate.apps.exchange import ClientGone, Exchange
from headgate.apps.failures import report
from headgate.apps.response import Reply
from headgate.base.jobcontext import WORK
from headgate.link.messages import Fail, Request, Timed

log = logging.getLogger("headgate.app")

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]

AFTERWARDS = 0.005
"""Seconds that `close()` may take before it counts as a part of the handler's run."""


class WsgiRunner:
    """Runs requests.

    Args:
        app: the WSGI callable.
        environs: makes the environ of each request.
        clock: seconds, for run times.
    """

    def __init__(self, app: WsgiApp, environs: EnvironMaker, clock: Callable[[], float] = time.perf_counter) -> None:
        self._app = app
        self._environs = environs
        self._clock = clock

    def run(self, exchange: Exchange, request: Request) -> None:
        """Answer one request. Raises nothing: what the app raises becomes a log entry and a `Fail`."""
        WORK.set(exchange.handler)
        reply = Reply(exchange, request.scope.method, self._clock)
        try:
            body: bytes | IO[bytes] = request.body if request.body_path is None else open(request.body_path, "rb")  # noqa: SIM115
            try:
                self._call(reply, request, body)
            finally:
                if not isinstance(body, bytes):
                    body.close()
        except ClientGone:
            exchange.link.send(Fail(exchange.stream, exchange.handler, "", reply.run))
        except BaseException as exc:  # SystemExit too: a handler must not end the worker's thread
            if reply.complete:
                report(exc, exchange.handler, "after its response was complete")
            elif exchange.cancelled:
                exchange.link.send(Fail(exchange.stream, exchange.handler, "", reply.run))
            else:
                error_id = report(exc, exchange.handler)
                exchange.link.send(Fail(exchange.stream, exchange.handler, error_id, reply.run))
        finally:
            exchange.link.finished(exchange.stream)

    def _call(self, reply: Reply, request: Request, body: bytes | IO[bytes]) -> None:
        result = self._app(self._environs.make(request.scope, body), reply.start)
        try:
            reply.send(result)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                self._close(close, reply)

    def _close(self, close: Callable[[], object], reply: Reply) -> None:
        """Call the iterable's `close()`, which may run what the app does after its response."""
        since = self._clock()
        close()
        if self._clock() - since > AFTERWARDS and reply.complete:
            reply.exchange.link.send(Timed(reply.exchange.handler, reply.run))
