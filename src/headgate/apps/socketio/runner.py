"""Runs the events of Socket.IO clients: inside the app's WSGI stack, in the machinery of the app's own server."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from headgate.apps.contexts import handshake_environ
from headgate.apps.environ import EnvironMaker
from headgate.apps.exchange import Exchange
from headgate.apps.failures import report
from headgate.apps.pool import HandlerPool
from headgate.apps.socketio.links import LinkOutlet
from headgate.apps.socketio.state import changes, restore
from headgate.base.jobcontext import WORK
from headgate.declare.socketio.manager import TURN
from headgate.declare.socketio.outlet import Turn
from headgate.declare.socketio.server import PERFORM
from headgate.link.socketio import SioAck, SioDone, SioEvent, SioOrder

log = logging.getLogger("headgate.app")

CALLBACKS: Final = 8
"""Threads that run what waits for clients' acknowledgements."""
CONNECT_ERROR: Final = 4
DISCONNECT: Final = 1


class NotReached(Exception):
    """The app's middleware did not let the event through to its Socket.IO server."""


class SocketioRunner:
    """The events of an app.

    Args:
        app: the WSGI app, whose middleware the handshake went through.
        server: its Socket.IO server.
        environs: makes environs.
        outlet: of this worker.
        clock: seconds, for run times.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        server: Any,
        environs: EnvironMaker,
        outlet: LinkOutlet,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._app = app
        self._server = server
        self._environs = environs
        self._outlet = outlet
        self._clock = clock
        self._callbacks = HandlerPool(CALLBACKS, "socketio-callback")

    def event(self, exchange: Exchange, message: SioEvent) -> None:
        """Run one event and answer it. Raises nothing."""
        since = self._clock()
        WORK.set(exchange.handler)
        turn = Turn(message.sid, message.eio, message.namespace, message.state)
        turn.kind, turn.connected = message.kind, message.kind == "event"
        error_id: str | None = None
        changed: dict[str, bytes] = {}
        try:
            changed = self._inside(turn, message, lambda: _RUN[message.kind](self, turn, message))
        except BaseException as exc:  # SystemExit too: a handler must not end the worker's thread
            error_id = report(exc, exchange.handler)
        done = self._done(exchange, turn, message, changed, error_id, self._clock() - since)
        exchange.link.send(done)
        exchange.link.finished(exchange.stream)

    def acknowledged(self, message: SioAck) -> None:
        """A client answered an emit: its callback runs on a thread of its own kind."""
        callback = self._outlet.callback(message.callback)
        if callback is not None:
            self._callbacks.submit(self._call_back, callback, message)

    def _call_back(self, callback: Callable[..., Any], message: SioAck) -> None:
        turn = Turn(message.sid, message.eio, message.namespace, message.state)
        try:
            packet = self._decoded(message.packet, message.attachments)
            changed = self._inside(turn, message, lambda: callback(*(packet.data or [])))
        except BaseException as exc:
            report(exc, f"callback of {message.namespace}")
            return
        if changed:
            self._outlet.order(SioOrder("state", message.namespace, message.sid, changed))

    def _inside(self, turn: Turn, message: SioEvent | SioAck, function: Callable[[], Any]) -> dict[str, bytes]:
        """Call a function inside the app's WSGI stack, as python-socketio's handlers are; returns what it changed."""
        environ = handshake_environ(self._environs, message.scope)
        changed: list[dict[str, bytes]] = []

        def perform(_server: Any, inner: dict[str, Any]) -> None:
            before = frozenset(inner)
            restore(inner, message.state)
            turn.environ = inner
            token = TURN.set(turn)
            try:
                function()
            finally:
                TURN.reset(token)
                changed.append(changes(inner, before, message.state, turn.sessions))

        environ[PERFORM] = perform
        told: list[str] = []
        body = self._app(environ, lambda status, _headers, _exc=None: told.append(status))
        if hasattr(body, "close"):
            body.close()
        if not changed:
            raise NotReached(
                f"the app's middleware answered {told[0] if told else 'nothing'} to the handshake of a Socket.IO client"
            )
        return changed[0]

    def _connect(self, turn: Turn, message: SioEvent) -> None:
        packet = self._decoded(message.packet, [])
        if not self._allowed(turn):
            self._server._send_packet(
                turn.eio,
                self._server.packet_class(CONNECT_ERROR, {"message": "Not an accepted origin."}, turn.namespace),
            )
            return
        self._server._handle_connect(turn.eio, message.namespace, packet.data)

    def _event(self, turn: Turn, message: SioEvent) -> None:
        packet = self._decoded(message.packet, message.attachments)
        self._server._handle_event_internal(self._server, turn.sid, turn.eio, packet.data, message.namespace, packet.id)

    def _disconnect(self, turn: Turn, message: SioEvent) -> None:
        self._server._trigger_event("disconnect", message.namespace, turn.sid, message.reason)

    def _allowed(self, turn: Turn) -> bool:
        """Ask the app's own function about the page's origin, if it has one."""
        allowed = self._server.eio.cors_allowed_origins
        origin = turn.environ.get("HTTP_ORIGIN")
        return not callable(allowed) or not origin or origin in self._server.eio._cors_allowed_origins(turn.environ)

    def _decoded(self, packet: Any, attachments: list[bytes]) -> Any:
        decoded = self._server.packet_class(encoded_packet=packet)
        for part in attachments:
            decoded.add_attachment(part)
        return decoded

    def _done(
        self,
        exchange: Exchange,
        turn: Turn,
        message: SioEvent,
        changed: dict[str, bytes],
        error_id: str | None,
        run: float,
    ) -> SioDone:
        accepted = True
        if message.kind == "connect":
            refused = [packet for packet in turn.sent if packet.packet_type in (CONNECT_ERROR, DISCONNECT)]
            if error_id is not None:
                told = {"message": "The connect handler failed.", "data": {"error_id": error_id}}
                refused.append(self._server.packet_class(CONNECT_ERROR, told, message.namespace))
            turn.sent = refused
            accepted = not refused
        answer = turn.sent[-1].encode() if turn.sent else None
        parts: list[Any] = answer if isinstance(answer, list) else [answer]
        return SioDone(
            exchange.stream,
            exchange.handler,
            accepted,
            parts[0],
            [bytes(part) for part in parts[1:]],
            changed,
            run,
            error_id,
        )


_RUN: Final[dict[str, Callable[[SocketioRunner, Turn, SioEvent], None]]] = {
    "connect": SocketioRunner._connect,
    "event": SocketioRunner._event,
    "disconnect": SocketioRunner._disconnect,
}
