"""What app workers, jobs and scripts ask of the clients of one gateway: emits, rooms, disconnects, questions."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, Protocol

import msgspec

from headgate.gateway.exchange import WorkerLink
from headgate.gateway.socketio import codec
from headgate.gateway.socketio.client import OPEN, PENDING, Client
from headgate.gateway.socketio.codec import Parcel
from headgate.gateway.socketio.fanout import Fanout
from headgate.gateway.socketio.recovery import Recovery
from headgate.gateway.socketio.rooms import Rooms
from headgate.gateway.socketio.session import SERVER, Session
from headgate.link.socketio import SioEmit, SioOrder, SioQuery, SioReply

log = logging.getLogger("headgate.gateway")

MOST_ACKS: Final = 1000
"""Acknowledgements that one client may owe."""


class Keeper(Protocol):
    """Who keeps the clients."""

    rooms: Rooms
    recovery: Recovery
    fanout: Fanout

    @property
    def serializer(self) -> str: ...

    def accept(self, client: Client) -> None: ...

    def release(self, client: Client) -> None: ...

    def leave(self, client: Client, reason: str) -> None: ...

    def keep(self, one: Session, changed: dict[str, bytes]) -> None: ...

    def state_of(self, client: Client) -> dict[str, bytes]: ...


class Orders:
    """Carries out what is asked.

    Args:
        hub: keeps the clients.
        drops: whether room messages of slow clients are dropped rather than the client.
    """

    def __init__(self, hub: Keeper, *, drops: bool) -> None:
        self.emits = 0
        self._hub = hub
        self._drops = drops

    def told(self, link: WorkerLink, message: SioEmit | SioOrder | SioQuery) -> None:
        """An app worker wants something."""
        if isinstance(message, SioEmit):
            self.emit(message, link.name)
        elif isinstance(message, SioOrder):
            self.order(message)
        else:
            link.transport.send(SioReply(message.query, self.answer(message)))

    def heard(self, payload: bytes) -> None:
        """A process without a link (a job, a script) said something over the broker."""
        try:
            message = _decode_told(payload)
        except msgspec.MsgspecError as exc:
            log.warning("a Socket.IO message on the broker's channel makes no sense: %s", exc)
            return
        if isinstance(message, SioEmit):
            self.emit(message, "")
        else:
            self.order(message)

    def emit(self, message: SioEmit, worker: str) -> None:
        """Send a packet to those it is for, encoded once."""
        self.emits += 1
        clients = self._hub.rooms.members(message.namespace, message.rooms, message.skip)
        if message.callback:
            for client in clients:
                number = client.expect(worker, message.callback, MOST_ACKS)
                parcel = Parcel(codec.with_id(message.packet, number), message.attachments)
                self._hub.fanout.deliver(parcel, [client])
            return
        parcel = Parcel(message.packet, message.attachments)
        recovery = self._hub.recovery
        if recovery.on:
            number = recovery.last if message.volatile else recovery.last + 1
            parcel.packet = codec.with_offset(message.packet, recovery.offset(number))
            if not message.volatile:
                now = asyncio.get_running_loop().time()
                recovery.keep(now, message.namespace, message.rooms, message.skip, parcel)
        droppable = message.volatile or (self._drops and not _direct(message.rooms, clients))
        self._hub.fanout.deliver(parcel, clients, droppable)

    def order(self, order: SioOrder) -> None:
        """Do what a handler asked for."""
        if order.kind == "close_room":
            self._hub.rooms.close(order.namespace, order.data)
            return
        client = self._hub.rooms.find(order.sid, order.namespace)
        if client is None:
            return
        if order.kind == "join":
            if not self._hub.rooms.join(client, order.data, self._hub.recovery.last):
                log.warning("client %s is in as many rooms as are allowed; not in %r", client.sid, order.data)
        elif order.kind == "leave":
            self._hub.rooms.leave(client, order.data)
        elif order.kind == "accept":
            self._hub.accept(client)
        elif order.kind == "state":
            self._hub.keep(client.session, order.data)
        elif order.kind == "disconnect" and client.accepted and client.state in (PENDING, OPEN):
            self._hub.release(client)
            packet = codec.packet_of(codec.DISCONNECT, client.namespace, None, self._hub.serializer)
            self._hub.fanout.deliver(Parcel(packet), [client], False)
            self._hub.fanout.flush()
            self._hub.leave(client, SERVER)

    def answer(self, query: SioQuery) -> Any:
        """What an app worker asked."""
        if query.kind == "participants":
            members = self._hub.rooms.members(query.namespace, query.data)
            return [[client.sid, client.session.sid] for client in members]
        if query.kind == "namespaces":
            return self._hub.rooms.namespaces()
        client = self._hub.rooms.find(query.sid, query.namespace)
        if client is None:
            return None
        if query.kind == "rooms":
            return [client.sid, *client.rooms]
        one = client.session
        return [one.sid, one.transport, client.state == OPEN, one.scope, self._hub.state_of(client)]


_decode_told: Final = msgspec.msgpack.Decoder(SioEmit | SioOrder).decode


def _direct(rooms: list[Any] | None, clients: list[Client]) -> bool:
    """Whether an emit is meant for one client by its sid."""
    return rooms is not None and len(rooms) == 1 and len(clients) == 1 and clients[0].sid == rooms[0]
