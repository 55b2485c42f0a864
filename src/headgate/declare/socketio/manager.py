"""python-socketio's client manager with the clients in the gateways: emits go there, and questions are asked there.

Imported only after the app has imported python-socketio.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any

from socketio import packet
from socketio.base_manager import BaseManager

from headgate.base.socketio import SioEmit, SioOrder
from headgate.declare.socketio import outlet
from headgate.declare.socketio.outlet import Turn

TURN: ContextVar[Turn | None] = ContextVar("headgate_socketio_turn", default=None)


class GatewayManager(BaseManager):  # type: ignore[misc]  # published without types
    """The manager of a server whose clients are in the gateways.

    Takes what python-socketio's own managers take (the address of a message queue, a channel, …) and needs none of it.
    """

    def __init__(self, *_queue: Any, **_options: Any) -> None:
        super().__init__()

    def emit(
        self,
        event: str,
        data: Any,
        namespace: str,
        room: Any = None,
        skip_sid: Any = None,
        callback: Callable[..., Any] | None = None,
        to: Any = None,
        volatile: bool = False,
        **_kwargs: Any,
    ) -> None:
        """Send an event: encoded here, once, with the app's own packet class and JSON."""
        maker = self.server.packet_class if self.server is not None else packet.Packet
        encoded = maker(packet.EVENT, namespace=namespace, data=[event, *arguments(data)]).encode()
        first, *attachments = encoded if isinstance(encoded, list) else [encoded]
        outlet.current.emit(
            SioEmit(
                namespace or "/",
                rooms_of(to or room),
                [sid for sid in (skip_sid if isinstance(skip_sid, list | tuple | set) else [skip_sid]) if sid],
                first,
                [bytes(part) for part in attachments],
                outlet.current.expect(callback) if callback is not None else 0,
                volatile,
            )
        )

    def enter_room(self, sid: str, namespace: str, room: Any, eio_sid: str | None = None) -> None:
        outlet.current.order(SioOrder("join", namespace, sid, room_of(room)))

    def leave_room(self, sid: str, namespace: str, room: Any) -> None:
        outlet.current.order(SioOrder("leave", namespace, sid, room_of(room)))

    def close_room(self, room: Any, namespace: str) -> None:
        outlet.current.order(SioOrder("close_room", namespace, "", room_of(room)))

    def get_rooms(self, sid: str, namespace: str) -> list[Any]:
        found = outlet.current.ask("rooms", namespace, sid)
        return next((list(rooms) for rooms in found if rooms is not None), [])

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        """Everybody in a room, on whichever gateway they are."""
        for members in outlet.current.ask("participants", namespace, "", rooms_of(room)):
            yield from map(tuple, members)

    def get_namespaces(self) -> Iterable[str]:
        return sorted({name for names in outlet.current.ask("namespaces", "", "") for name in names})

    def is_connected(self, sid: str, namespace: str) -> bool:
        turn = TURN.get()
        if turn is not None and turn.is_for(sid, namespace):
            return turn.connected
        found = self.client(sid, namespace)
        return bool(found is not None and found[2])

    def can_disconnect(self, sid: str, namespace: str) -> bool:
        return self.is_connected(sid, namespace)

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        turn = TURN.get()
        if turn is not None and turn.is_for(sid, namespace):
            return turn.eio
        found = self.client(sid, namespace)
        return str(found[0]) if found is not None else None

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        turn = TURN.get()
        return turn.sid if turn is not None and eio_sid == turn.eio and namespace == turn.namespace else None

    def client(self, sid: str, namespace: str) -> Any:
        """What the gateways know of a client, or None."""
        return next((one for one in outlet.current.ask("client", namespace, sid) if one is not None), None)

    # What python-socketio keeps in its tables: the gateway has done it, or does it when the handler has ended.

    def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        turn = TURN.get()
        return turn.sid if turn is not None else None

    def connect(self, sid: str, namespace: str) -> str:
        return sid

    def pre_disconnect(self, sid: str, namespace: str) -> str | None:
        turn = TURN.get()
        return turn.eio if turn is not None else None

    def disconnect(self, sid: str, namespace: str, **_kwargs: Any) -> None:
        """The gateway has let it go."""


def arguments(data: Any) -> list[Any]:
    """A tuple is several arguments, None is none, anything else is one."""
    if isinstance(data, tuple):
        return list(data)
    return [] if data is None else [data]


def room_of(room: Any) -> Any:
    """A room's name as the link carries it: what is neither text nor a number goes by what it looks like."""
    return room if isinstance(room, str | int | float) or room is None else repr(room)


def rooms_of(to: Any) -> list[Any] | None:
    if to is None:
        return None
    return [room_of(one) for one in to] if isinstance(to, list | tuple | set | frozenset) else [room_of(to)]
