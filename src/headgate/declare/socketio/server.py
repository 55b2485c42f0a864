"""python-socketio's `Server` with the clients in the gateways; handlers run in its own machinery.

Imported only after the app has imported python-socketio.
"""

from __future__ import annotations

import logging
import pickle
import threading
from collections.abc import Callable
from typing import Any, Final

import socketio

from headgate.base.socketio import SioOrder
from headgate.declare.socketio import once, outlet
from headgate.declare.socketio.manager import TURN, GatewayManager

log = logging.getLogger("headgate.app")

PERFORM: Final = "headgate.socketio"
"""The key of an environ under which the app worker says what to run."""
servers: list[GatewayServer] = []
"""Every server of this process."""
_OriginalServer: Final = socketio.Server


class _Environs(dict[str, Any]):
    """The environs of the clients at hand: that of the event which the calling thread is at."""

    def __missing__(self, eio_sid: str) -> dict[str, Any]:
        turn = TURN.get()
        if turn is None or turn.eio != eio_sid:
            raise KeyError(eio_sid)
        return turn.environ


class GatewayServer(_OriginalServer):  # type: ignore[misc,valid-type]  # published without types
    """The server behind a `SocketIO` object, in a process of Headgate's."""

    def __init__(self, client_manager: Any = None, **options: Any) -> None:
        mode = options.pop("async_mode", None)
        if mode not in (None, "threading"):
            log.info(
                "Socket.IO: async_mode=%r is not needed here: connections are the gateway's, handlers are threads", mode
            )
        if client_manager is not None:
            log.info("Socket.IO: the message queue is not needed here: Headgate's own broker takes its place")
        self.options = dict(options)
        super().__init__(client_manager=GatewayManager(), async_mode="threading", **options)
        self.environ = _Environs()
        servers.append(self)

    # clients

    def emit(self, event: str, data: Any = None, to: Any = None, room: Any = None, **options: Any) -> None:
        """As python-socketio's, and `volatile=True` besides: clients that are slow or away need not get it."""
        namespace = options.pop("namespace", None) or "/"
        options.pop("ignore_queue", None)
        self.manager.emit(event, data, namespace, room=to or room, **options)

    def get_environ(self, sid: str, namespace: str | None = None) -> Any:
        turn = TURN.get()
        if turn is not None and sid == turn.sid:
            return turn.environ
        found = self.manager.client(sid, namespace or "/")
        return outlet.current.environ(found) if found is not None else None

    def get_session(self, sid: str, namespace: str | None = None) -> dict[str, Any]:
        namespace = namespace or "/"
        turn = TURN.get()
        if turn is not None and turn.is_for(sid, namespace):
            return turn.sessions.setdefault(namespace, _session_in(turn.state, namespace))
        found = self.manager.client(sid, namespace)
        if found is None:
            raise KeyError("Session not found")
        return _session_in(found[4], namespace)

    def save_session(self, sid: str, session: dict[str, Any], namespace: str | None = None) -> None:
        namespace = namespace or "/"
        turn = TURN.get()
        if turn is not None and turn.is_for(sid, namespace):
            turn.sessions[namespace] = session
            return
        outlet.current.order(SioOrder("state", namespace, sid, session_entry(namespace, session)))

    def transport(self, sid: str, namespace: str | None = None) -> str:
        found = self.manager.client(sid, namespace or "/")
        if found is None:
            raise KeyError("Session not found")
        return str(found[1])

    def disconnect(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None:
        outlet.current.order(SioOrder("disconnect", namespace or "/", sid))

    # the machinery

    def handle_request(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        """What an app worker runs for a client comes through the app's WSGI middleware, as its handshake did."""
        perform = environ.pop(PERFORM, None)
        if perform is None:
            start_response("503 Service Unavailable", [("Content-Type", "text/plain"), ("Retry-After", "1")])
            return [b"Socket.IO is served by the gateway.\n"]
        perform(self, environ)
        start_response("204 No Content", [])
        return []

    def _send_packet(self, eio_sid: str, pkt: Any) -> None:
        """What the machinery answers a client with goes back with the event."""
        turn = TURN.get()
        if turn is not None and turn.eio == eio_sid:
            turn.sent.append(pkt)
            if self.always_connect and turn.kind == "connect" and pkt.packet_type == socketio.packet.CONNECT:
                outlet.current.order(SioOrder("accept", turn.namespace, turn.sid))

    def start_background_task(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> threading.Thread:
        turn = TURN.get()
        if not args and not kwargs and (once.importing or (turn is not None and turn.kind == "connect")):
            target = once.wrap(target)
        thread = threading.Thread(target=target, args=args, kwargs=kwargs, daemon=True)
        thread.start()
        return thread

    def instrument(self, *_args: Any, **_kwargs: Any) -> None:
        """The admin UI patches what is not here."""
        log.warning(
            "Socket.IO: the admin UI (instrument) is not served under Headgate; `headgate status` shows clients"
        )

    def shutdown(self) -> None:
        """Nothing runs here that would have to be stopped."""


def _session_in(state: Any, namespace: str) -> dict[str, Any]:
    raw = state.get(f"s{namespace}")
    return pickle.loads(raw) if raw else {}


def session_entry(namespace: str, session: dict[str, Any]) -> dict[str, bytes]:
    """A session as an entry of a client's state."""
    return {f"s{namespace}": pickle.dumps(session) if session else b""}
