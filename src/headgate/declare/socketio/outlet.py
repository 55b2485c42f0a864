"""How a process reaches the gateways with the Socket.IO clients: an app worker by its links, others by the broker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from headgate.base.errors import NotHosted
from headgate.base.socketio import CHANNEL, SioEmit, SioOrder
from headgate.declare import binding

_encode = msgspec.msgpack.Encoder().encode


class Outlet(Protocol):
    """What the server needs of its process."""

    def emit(self, message: SioEmit) -> None: ...

    def order(self, message: SioOrder) -> None: ...

    def ask(self, kind: str, namespace: str, sid: str, data: Any = None) -> list[Any]:
        """The answers of the gateways that may know (`link.socketio.SioQuery`)."""

    def expect(self, callback: Callable[..., Any]) -> int:
        """A number under which the callback is run when a client acknowledges."""

    def environ(self, found: Any) -> dict[str, Any]:
        """The environ of a client's handshake, of what `ask("client", …)` gave."""


class BrokerOutlet:
    """For processes without a link: jobs, scripts, shells. They can tell, and cannot ask."""

    def emit(self, message: SioEmit) -> None:
        self._publish(message)

    def order(self, message: SioOrder) -> None:
        self._publish(message)

    def ask(self, kind: str, namespace: str, sid: str, data: Any = None) -> list[Any]:
        raise NotHosted(
            f"Socket.IO clients cannot be asked about ({kind}) in this process, which is no app worker: ask in a "
            "view or an event handler, and pass the answer to the job or script"
        )

    def expect(self, callback: Callable[..., Any]) -> int:
        raise NotHosted(
            "an emit with a callback works in views, event handlers and background tasks of the app; this process "
            "is none of the app's workers and may be gone before the client answers"
        )

    def environ(self, found: Any) -> dict[str, Any]:
        raise NotHosted("the handshake of a Socket.IO client is known in app workers only")

    def _publish(self, message: SioEmit | SioOrder) -> None:
        binding.current().engine.publish(CHANNEL, _encode(message))


current: Outlet = BrokerOutlet()
"""This process's."""


def use(outlet: Outlet) -> None:
    """Reach the gateways this way from now on."""
    global current
    current = outlet


class Turn:
    """The event that the calling thread runs a handler for.

    Args:
        sid, eio, namespace: of the client.
        state: what earlier events left; read with `take`, changed with `put`.
    """

    def __init__(self, sid: str, eio: str, namespace: str, state: Mapping[str, bytes]) -> None:
        self.sid = sid
        self.eio = eio
        self.namespace = namespace
        self.state = state
        self.environ: dict[str, Any] = {}
        self.kind = "event"
        self.connected = True
        self.sent: list[Any] = []
        """The packets that the server meant for the client itself: answers to its own."""
        self.sessions: dict[str, dict[str, Any]] = {}
        """python-socketio's own sessions, by namespace."""

    def is_for(self, sid: str, namespace: str) -> bool:
        return sid == self.sid and namespace == self.namespace
