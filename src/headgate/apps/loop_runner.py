"""Runs the app for one loop socket, from its handshake to its end, on a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from headgate.apps.contexts import handshake_environ
from headgate.apps.environ import EnvironMaker
from headgate.apps.exchange import ClientGone, Exchange
from headgate.apps.failures import report
from headgate.apps.loops import ENVIRON_KEY, HandshakeReply, LoopConnection, LoopPolicy
from headgate.base.jobcontext import WORK
from headgate.link.messages import Fail, Open, Reject

log = logging.getLogger("headgate.app")

STACK_BYTES: Final = 512 * 1024
"""Of a loop's thread. Python's own recursion limit is reached well before its end; a thousand of the default size
would reserve 8 GB, which strict overcommit (vm.overcommit_memory=2) refuses."""
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

    def start(self, exchange: Exchange, message: Open, name: str) -> LoopConnection | None:
        """Begin a loop (on the link's loop); None when there are as many as allowed, and the client is told."""
        if len(self.connections) >= self._most:
            body = b"This app worker holds as many loop sockets as it may; try again later.\n"
            exchange.link.send(Reject(exchange.stream, 503, _FULL, body, exchange.handler))
            exchange.link.finished(exchange.stream)
            return None
        connection = LoopConnection(exchange, message.scope, name, self._policy)
        self.connections.add(connection)
        self._started += 1
        _start_thread(f"loop-{self._started}", self._run, connection)
        return connection

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

    def _call(self, connection: LoopConnection) -> None:
        exchange = connection.exchange
        environ = handshake_environ(self._environs, connection.scope)
        environ[ENVIRON_KEY] = connection
        reply = HandshakeReply()
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


_stack_lock = threading.Lock()


def _start_thread(name: str, target: Callable[..., None], *args: Any) -> None:
    """Start a daemon thread with a small stack. The stack size is the process's; it is put back at once."""
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    with _stack_lock:
        before = threading.stack_size(STACK_BYTES)
        try:
            thread.start()
        finally:
            threading.stack_size(before)
