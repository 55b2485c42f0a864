"""Socket.IO on one gateway: namespaces, rooms, acknowledgements and fan-out, between sessions and app workers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from headgate.gateway.exchange import Exchange
from headgate.gateway.socketio import codec, session
from headgate.gateway.socketio.carried import MOST_STATE, Carried
from headgate.gateway.socketio.client import GONE, LEAVING, OPEN, PENDING, Client, Half, Item
from headgate.gateway.socketio.codec import Head, Malformed, Parcel
from headgate.gateway.socketio.fanout import Fanout
from headgate.gateway.socketio.orders import Orders
from headgate.gateway.socketio.recovery import Away, Recovery
from headgate.gateway.socketio.rooms import Rooms
from headgate.gateway.socketio.session import Session
from headgate.gateway.socketio.turns import Turns
from headgate.link.socketio import Packet, SioAck, SioDone, SioServer, gateway_of, new_id

log = logging.getLogger("headgate.gateway")

CONNECT_TIMEOUT: Final = 45.0
"""Seconds for a session to connect to a first namespace."""
BREATH: Final = 0.001
"""Seconds between CONNECT and what follows: some clients begin to listen only when they have seen CONNECT."""
MOST_NAMESPACES: Final = 64
"""Of one session; and as many more may be on their way out."""
RECOVERABLE: Final = frozenset([session.TRANSPORT_CLOSE, session.TRANSPORT_ERROR, session.PING_TIMEOUT])


class Hub:
    """All clients of one gateway.

    Args:
        exchange: where app workers are.
        index: which gateway this is; the first letters of its sids.
        inbox: events of one client that may wait.
        recovery: who may come back.
        drops: whether room messages of slow clients are dropped rather than the client.
        connect_timeout: seconds for a session to connect to a namespace.
    """

    def __init__(
        self,
        exchange: Exchange,
        index: int,
        *,
        inbox: int,
        recovery: Recovery,
        drops: bool = False,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        self.exchange = exchange
        self.server: SioServer | None = None
        self.rooms = Rooms()
        self.recovery = recovery
        self.fanout = Fanout()
        self.orders = Orders(self, drops=drops)
        self.closed_slow = self.events_lost = 0
        self.move: Callable[[Session, str, str | bytes], bool] = lambda _session, _pid, _packet: False
        """Gives a session to the gateway that knows the client; False if there is none."""
        self._index = index
        self._inbox = inbox
        self._connect_timeout = connect_timeout
        self._loop = asyncio.get_running_loop
        self._turns = Turns(self, lambda: self._loop().time(), lambda *args: self._loop().call_later(*args))
        self._heirs: dict[str, tuple[Session, Head, Packet]] = {}
        self._pids: dict[str, Client] = {}
        exchange.on_socketio = self.orders.told
        exchange.on_socketio_server = self.serves

    # what sessions tell

    def serves(self, server: SioServer) -> None:
        """An app worker said what the app's server is like."""
        self.server = server

    def opened(self, session: Session) -> None:
        """A session has begun."""
        carried = session.data = Carried()
        carried.timer = session.loop.call_later(self._connect_timeout, self._unused, session)

    def mark(self) -> int:
        """Remembered with each ping: what a client that answers it has got."""
        return self.recovery.last

    def received(self, session: Session, data: str | bytes) -> None:
        carried: Carried = session.data
        half = carried.half
        if half is not None:
            self._attachment(session, carried, half, data)
            return
        if isinstance(data, bytes) != (self.serializer == "msgpack"):
            raise Malformed("a binary message where a packet was due")
        head = codec.read(data)
        if head.kind == codec.CONNECT:
            self._connect(session, carried, head, data)
            return
        client = carried.clients.get(head.namespace)
        if client is None:
            if carried.timer is not None:
                raise Malformed("a packet before CONNECT")
            return  # it has left the namespace, and did not know so yet
        if head.kind == codec.DISCONNECT:
            self.leave(client, "client disconnect")
        elif head.attachments and isinstance(data, str):
            carried.half = Half(head, data)
        else:
            self._whole(client, head, data, [])

    def closed(self, session: Session, reason: str) -> None:
        carried: Carried = session.data
        if carried.timer is not None:
            carried.timer.cancel()
        for client in list(carried.clients.values()):
            self.leave(client, reason)
        carried.awake()

    def overflowed(self, session: Session) -> None:
        self.closed_slow += 1

    async def room(self, session: Session) -> None:
        """Returns when the session may send more."""
        carried: Carried = session.data
        while not session.closed and carried.waiting >= self._inbox:
            future: asyncio.Future[None] = session.loop.create_future()
            carried.wake.append(future)
            await future

    # packets

    @property
    def serializer(self) -> str:
        return self.server.serializer if self.server is not None else "default"

    def _attachment(self, session: Session, carried: Carried, half: Half, data: str | bytes) -> None:
        if isinstance(data, str):
            raise Malformed("text where an attachment was due")
        half.attachments.append(data)
        half.size += len(data)
        if half.size > 4 * session.terms.max_payload:
            raise Malformed("the attachments are too large")
        if len(half.attachments) >= half.head.attachments:
            carried.half = None
            client = carried.clients.get(half.head.namespace)
            if client is not None:
                self._whole(client, half.head, half.packet, half.attachments)

    def _whole(self, client: Client, head: Head, packet: Packet, attachments: list[bytes]) -> None:
        if head.kind in (codec.ACK, codec.BINARY_ACK):
            self._acknowledged(client, head, packet, attachments)
        elif head.kind in (codec.EVENT, codec.BINARY_EVENT) and client.state in (PENDING, OPEN):
            name = self._handler(client.namespace, head.event)
            if name:  # what no handler waits for is dropped, as python-socketio does
                self._turns.add(client, Item("event", name, packet, attachments, head.id))
                self._press(client.session)

    def _acknowledged(self, client: Client, head: Head, packet: Packet, attachments: list[bytes]) -> None:
        expected = client.answered(head.id or 0)
        link = self.exchange.links.get(expected[0]) if expected is not None else None
        if link is not None and expected is not None:
            held = client.session
            state = self.state_of(client)
            names = (held.sid, client.sid, client.namespace)
            link.transport.send(SioAck(expected[1], *names, held.scope, state, packet, attachments))

    def _handler(self, namespace: str, event: str) -> str:
        """The event's name in the lanes: its own, `*` for the rest of those that have a handler, or nothing."""
        if self.server is None:
            return ""
        found = ""
        for known in (self.server.namespaces.get(namespace), self.server.namespaces.get("*")):
            if known is not None:
                if event in known:
                    return event
                if "*" in known and event not in ("connect", "disconnect"):
                    found = "*"
        return found

    # connecting

    def _connect(self, session: Session, carried: Carried, head: Head, packet: Packet) -> None:
        if carried.leaving >= MOST_NAMESPACES:  # what they wait for is still kept, and nothing else counts it
            raise Malformed("too many namespaces joined and left at once")
        server = self.server
        if server is None or (server.accepted is not None and head.namespace not in server.accepted):
            self._refuse(session, head.namespace, {"message": "Invalid namespace"})
            return
        if head.namespace in carried.clients or len(carried.clients) >= MOST_NAMESPACES:
            self._refuse(session, head.namespace, {"message": "Unable to connect"})
            return
        pid = head.data.get("pid") if isinstance(head.data, dict) else None
        if self.recovery.on and isinstance(pid, str) and pid:
            foreign = gateway_of(pid) != self._index
            if foreign and not carried.clients and session.app is self and self.move(session, pid, packet):
                return
            self._take_back(session, head, packet, pid)
            return
        self._begin(session, head.namespace, packet)

    def _begin(
        self, session: Session, namespace: str, packet: Packet, away: Away | None = None, after: int = 0
    ) -> None:
        carried: Carried = session.data
        client = Client(away.sid if away is not None else self.new_sid(), namespace, session)
        carried.clients[namespace] = client
        if carried.timer is not None:
            carried.timer.cancel()
            carried.timer = None
        client.opened_at = self.recovery.last
        if self.recovery.on:
            client.pid = away.pid if away is not None else new_id(self._index)
            self._pids[client.pid] = client
        self.rooms.add(client)
        if away is not None:
            client.recovered, client.since = True, after
            client.opened_at = away.opened_at
            carried.state = {**away.state, **carried.state}
            for room, since in away.rooms.items():
                self.rooms.join(client, room, since)
        if self._handler(namespace, "connect"):
            self._turns.add(client, Item("connect", "connect", packet))
        else:
            self.accept(client)

    def accept(self, client: Client) -> None:
        """The app takes the client in."""
        if client.held is None or client.accepted:
            return
        client.accepted = True
        told = {"sid": client.sid, "pid": client.pid} if client.pid else {"sid": client.sid}
        client.session.send(Parcel(codec.packet_of(codec.CONNECT, client.namespace, told, self.serializer)))
        self._loop().call_later(BREATH, self.release, client)

    def release(self, client: Client) -> None:
        """Send what was emitted to a client before it was accepted, and while it was away."""
        if client.held is None or not client.accepted:
            return
        held, client.held = client.held, None
        if client.state == PENDING:
            client.state = OPEN
        last = 0
        if client.recovered:
            for parcel in self.recovery.missed(client.sid, client.namespace, client.rooms, client.since):
                client.send(parcel)
            last = self.recovery.last
        for parcel in held or ():
            if not parcel.number or parcel.number > last:
                client.send(parcel)
        self._turns.pump(client)

    def _refuse(self, session: Session, namespace: str, told: Any) -> None:
        session.send(Parcel(codec.packet_of(codec.CONNECT_ERROR, namespace, told, self.serializer)))

    def _unused(self, one: Session) -> None:
        carried: Carried = one.data
        carried.timer = None
        if not carried.clients:
            one.close(session.TRANSPORT_CLOSE)

    # coming back

    def _take_back(self, new: Session, head: Head, packet: Packet, pid: str) -> None:
        old = self._pids.get(pid)
        if old is not None:  # its old connection is half open, or its disconnect handler still runs
            self._heirs[pid] = (new, head, packet)
            if old.session is not new:
                old.session.close(session.TRANSPORT_CLOSE)
            return
        self._restore(new, head, packet, pid)

    def _restore(self, new: Session, head: Head, packet: Packet, pid: str) -> None:
        if new.closed:
            return
        clients = new.data.clients
        if head.namespace in clients or len(clients) >= MOST_NAMESPACES:  # it did not wait, and began anew
            self._refuse(new, head.namespace, {"message": "Unable to connect"})
            return
        data = dict(head.data)
        del data["pid"]
        offset = data.pop("offset", None)
        plain = codec.packet_of(codec.CONNECT, head.namespace, data or None, self.serializer)
        found = self.recovery.back(pid, head.namespace, offset, new.loop.time())
        if found is None:
            self._begin(new, head.namespace, plain)
            return
        self._begin(new, head.namespace, plain, *found)

    # leaving

    def leave(self, client: Client, reason: str) -> None:
        """The client is going, or the app wants it gone."""
        carried: Carried = client.session.data
        if client.state not in (PENDING, OPEN):
            return
        carried.clients.pop(client.namespace, None)
        client.state = LEAVING
        carried.leaving += 1
        if reason in RECOVERABLE and self.recovery.on and client.accepted:
            self._remember(client)
        if self._handler(client.namespace, "disconnect"):
            self._turns.add(client, Item("disconnect", "disconnect", reason=reason))
        else:
            self._turns.pump(client)

    def _remember(self, client: Client) -> None:
        now = self._loop().time()
        client.expires = now + self.recovery.seconds
        client.kept = dict(client.rooms)

    def idle(self, client: Client) -> None:
        """Nothing of the client runs or waits: if it is leaving, it is gone now."""
        if client.state != LEAVING:
            return
        carried: Carried = client.session.data
        carried.leaving -= 1
        client.state = GONE
        self.rooms.remove(client)
        self._pids.pop(client.pid, None)
        if client.expires:
            confirmed = client.session.confirmed or 0
            left = (client.kept, carried.state, client.opened_at, confirmed, client.expires)
            self.recovery.leave(Away(client.pid, client.sid, client.namespace, *left))
        self._inherit(client)

    def _inherit(self, client: Client) -> None:
        """A client is gone: who waited to take its place begins."""
        heir = self._heirs.pop(client.pid, None) if client.pid else None
        if heir is not None:
            self._restore(*heir, client.pid)

    # app workers (turns.Owner)

    @property
    def ordered(self) -> bool:
        return self.server is not None and self.server.ordered

    def state_of(self, client: Client) -> dict[str, bytes]:
        carried: Carried = client.session.data
        return carried.state

    def done(self, client: Client, item: Item, done: SioDone) -> None:
        """A handler has ended."""
        self.keep(client.session, done.changed)
        if item.kind == "connect":
            if done.accepted:
                self.accept(client)
            else:
                self._turn_away(client, done.packet)
        elif done.packet is not None:
            self.fanout.deliver(Parcel(done.packet, done.attachments), [client], False)
        self._ease(client.session)

    def failed(self, client: Client, item: Item, why: str) -> None:
        """A handler was not run, or not to its end."""
        self.events_lost += 1
        log.warning("sio %s:%s of client %s failed: %s", client.namespace, item.event, client.sid, why)
        if item.kind == "connect":
            told = {"message": "The server is busy: try again.", "data": {"retry": True}}
            self._turn_away(client, codec.packet_of(codec.CONNECT_ERROR, client.namespace, told, self.serializer))
        self._ease(client.session)

    def _turn_away(self, client: Client, packet: Packet) -> None:
        carried: Carried = client.session.data
        if packet is not None and not client.session.closed:
            client.session.send(Parcel(packet))
        if carried.clients.get(client.namespace) is client:
            del carried.clients[client.namespace]
        if client.state == LEAVING:
            carried.leaving -= 1
        client.state = GONE
        client.inbox.clear()
        self.rooms.remove(client)
        self._pids.pop(client.pid, None)
        self._inherit(client)

    def keep(self, one: Session, changed: dict[str, bytes]) -> None:
        """What an event has changed of what later events get."""
        carried: Carried = one.data
        if changed and not carried.keep(changed):
            log.error("session %s would keep more than %d bytes of state: not changed", one.sid, MOST_STATE)

    def _press(self, one: Session) -> None:
        carried: Carried = one.data
        if one.wire is not None and carried.waiting >= self._inbox:
            one.wire.pause()

    def _ease(self, one: Session) -> None:
        carried: Carried = one.data
        if carried.waiting <= self._inbox // 2:
            if one.wire is not None and not one.wire.reading:
                one.wire.resume()
            carried.awake()

    def new_sid(self) -> str:
        return new_id(self._index)
