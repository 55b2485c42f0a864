"""Runs the app for one loop socket, from its handshake to its end, on a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from headgate.apps import stamps
from headgate.apps.contexts import handshake_environ
from headgate.apps.environ import EnvironMaker
from headgate.apps.exchange import ClientGone, Exchange
from headgate.apps.failures import report
from headgate.apps.loops import ENVIRON_KEY, LoopConnection, LoopPolicy
from headgate.apps.response import CollectedReply
from headgate.base.jobcontext import WORK
from headgate.link.messages import Fail, Open, Reject

log = logging.getLogger("headgate.app")

INTERNAL_ERROR: Final = 1011
_FULL: Final = [(b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"5")]


class LoopRunner:
    """Starts and counts loops.

    Args:
        app: the WSGI callable.
        environs: makes the handshake's environ.
        policy: shared by all loops.
        most: loops at once; one more is refused with 503.
    """

    def __init__(self, app: Any, environs: EnvironMaker, policy: LoopPolicy, most: int) -> None:
        self._app = app
        self._environs = environs
        self._policy = policy
        self._most = most
        self._started = 0
        self.connections: set[LoopConnection] = set()

    def start(self, exchange: Exchange, message: Open, name: str, begun: Callable[[LoopConnection], None]) -> None:
        """Begin a loop; when there are as many as allowed, the client is told.

        Args:
            name: the first part of its turns' names.
            begun: gets the connection before its thread starts.
        """
        if len(self.connections) >= self._most:
            self._refuse(exchange, b"This app worker holds as many loop sockets as it may; try again later.\n")
            return
        connection = LoopConnection(exchange, message.scope, name, self._policy)
        self._started += 1
        # The stack is the process's default. It costs the pages that are touched, not its size; and with one of
        # 512 KiB a handler that recurses without end crashes the worker before Python's own limit stops it.
        thread = threading.Thread(target=self._run, args=[connection], name=f"loop-{self._started}", daemon=True)
        self.connections.add(connection)
        begun(connection)
        try:
            thread.start()
        except RuntimeError as exc:
            self.connections.discard(connection)
            log.warning("no thread for a loop socket: %s; lower loop_threads, or raise the limit of tasks", exc)
            self._refuse(exchange, b"This app worker can start no more threads now; try again later.\n")

    def _refuse(self, exchange: Exchange, why: bytes) -> None:
        exchange.link.send(Reject(exchange.stream, 503, _FULL, why, exchange.handler))
        exchange.link.finished(exchange.stream)

    def stop(self) -> None:
        """End every loop: its client is told to come back, its handler at its next `receive` or `send`."""
        for connection in list(self.connections):
            connection.stop()

    def _run(self, connection: LoopConnection) -> None:
        exchange = connection.exchange
        since = time.perf_counter()
        WORK.set(exchange.handler)
        try:
            self._call(connection)
        except ClientGone:
            self._end(connection, 1001)
        except BaseException as exc:  # SystemExit too
            error_id = report(exc, exchange.handler)
            if connection.accepted:
                self._end(connection, INTERNAL_ERROR, f"error {error_id}")
            elif exchange.link.finished(exchange.stream):
                exchange.link.send(Fail(exchange.stream, exchange.handler, error_id, time.perf_counter() - since))
        finally:
            self.connections.discard(connection)
            stamps.leave()

    def _call(self, connection: LoopConnection) -> None:
        exchange = connection.exchange
        environ = handshake_environ(self._environs, connection.scope)
        environ[ENVIRON_KEY] = connection
        reply = CollectedReply()
        since = time.perf_counter()
        body = reply.body(self._app(environ, reply.start))
        if connection.accepted:
            failed = reply.status >= 500  # the framework has caught and logged it
            self._end(connection, INTERNAL_ERROR if failed else 1000)
        elif exchange.link.finished(exchange.stream):
            run = time.perf_counter() - since
            exchange.link.send(Reject(exchange.stream, reply.status or 500, reply.headers, body, exchange.handler, run))

    def _end(self, connection: LoopConnection, code: int, reason: str = "") -> None:
        connection.hang_up(code, reason)
