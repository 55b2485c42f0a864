"""Socket.IO as the gateway sees it: its parts joined."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from headgate.gateway.bodies import Pace
from headgate.gateway.exchange import Exchange
from headgate.gateway.httpproto import HttpProtocol
from headgate.gateway.socketio.endpoint import Endpoint
from headgate.gateway.socketio.hub import Hub
from headgate.gateway.socketio.peers import Peers
from headgate.gateway.socketio.polling import Answer, Polling
from headgate.gateway.socketio.recovery import Recovery
from headgate.gateway.socketio.session import Session
from headgate.gateway.socketio.sessions import Sessions
from headgate.gateway.web import Message, Receive, Send, Web
from headgate.link.socketio import SioServer, gateway_of

log = logging.getLogger("headgate.gateway")

LAST_EVENTS: Final = 0.05
"""Seconds between two looks whether the disconnect handlers have run, when the gateway stops."""


class Bounds(msgspec.Struct, frozen=True):
    """The settings that Socket.IO goes by (bytes, seconds, counts)."""

    outbox_bytes: int
    outbox_age: float
    inbox: int
    most: int
    recovery: float
    drops: bool
    pace: Pace
    """At which the body of a post must come."""


class SocketIO:
    """The Socket.IO server of one gateway.

    Args:
        exchange, web: of the gateway.
        index, gateways: which one it is, of how many.
        folder: for the sockets between gateways.
        bounds, root_path: settings.
        admit: seconds after which a new session may be asked for; 0 for now.
    """

    def __init__(
        self,
        exchange: Exchange,
        web: Web,
        index: int,
        gateways: int,
        folder: Path,
        bounds: Bounds,
        *,
        root_path: str = "",
        admit: Callable[[], float] = lambda: 0.0,
    ) -> None:
        recovery = Recovery(bounds.recovery)
        self.hub = Hub(exchange, index, inbox=bounds.inbox, recovery=recovery, drops=bounds.drops)
        self.peers = Peers(folder, index, gateways)
        self.sessions = Sessions(
            self.hub,
            self.hub.opened,
            self.hub.new_sid,
            index,
            self.peers,
            outbox=(bounds.outbox_bytes, bounds.outbox_age),
            most=bounds.most,
            admit=admit,
        )
        self.polling = Polling(self.sessions, web, self.peers, pace=bounds.pace)
        self.endpoint = Endpoint(self.sessions, web, self.peers)
        self._root = root_path.rstrip("/")
        exchange.on_socketio_server = self.serves
        self.hub.move = self._move

    def serves(self, server: SioServer) -> None:
        """An app worker said what the app's server is like."""
        self.hub.serves(server)
        self.sessions.serves(server)
        self.peers.most_message = server.max_payload

    def counted(self, arrived: Callable[[], None], departed: Callable[[], None]) -> None:
        """Who counts the connections that come and go without HTTP."""
        self.endpoint.on_departed = departed
        self.peers.arrived, self.peers.departed = arrived, departed

    def takes(self, path: str) -> bool:
        """Whether a request is for the app's Socket.IO server."""
        server = self.hub.server
        if server is None:
            return False
        path = path.removeprefix(self._root) if self._root else path
        return path.startswith(server.path) or path == server.path[:-1]

    async def answer(self, scope: Message, receive: Receive, send: Send) -> None:
        await self.polling.answer(scope, receive, send)

    def upgrade(self, protocol: HttpProtocol, target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.endpoint.upgrade(protocol, target, headers)

    async def start(self) -> None:
        await self.peers.start()

    def second(self) -> None:
        """To be called once a second."""
        self.sessions.second()
        self.hub.recovery.second(asyncio.get_running_loop().time())

    async def drain(self, seconds: float) -> None:
        """End all sessions, and let the app hear of it."""
        loop = asyncio.get_running_loop()
        until = loop.time() + max(0.2, seconds * 0.8)
        await self.sessions.drain(seconds)
        while self.hub.rooms.clients and loop.time() < until:  # noqa: ASYNC110 - they end by many ways, one by one
            await asyncio.sleep(LAST_EVENTS)
        self.endpoint.abort()
        await self.peers.close()

    def stats(self) -> dict[str, Any]:
        """What `headgate status` and the metrics show."""
        hub, sessions = self.hub, self.sessions
        return {
            "socketio_sessions": len(sessions),
            "socketio_polling": sessions.polling,
            "socketio_clients": len(hub.rooms),
            "socketio_rooms": hub.rooms.rooms,
            "socketio_away": len(hub.recovery),
            "socketio_opened": sessions.opened_total,
            "socketio_refused": sessions.refused,
            "socketio_emits": hub.orders.emits,
            "socketio_delivered": hub.fanout.delivered,
            "socketio_dropped": sessions.dropped,
            "socketio_closed_slow": hub.closed_slow,
            "socketio_events_lost": hub.events_lost,
            "socketio_recovered": hub.recovery.recovered,
            "socketio_not_recovered": hub.recovery.refused,
            "socketio_forwarded": self.peers.asked,
        }

    def _move(self, session: Session, pid: str, packet: str | bytes) -> bool:
        """Give a session to the gateway that knows the client it belongs to."""
        index = gateway_of(pid)
        if index is None or not self.peers.knows(index) or session.probing:
            return False
        if session.wire is not None and not session.wire.whole:
            return False
        mover = _Mover([packet])
        session.app = mover
        asyncio.get_running_loop().call_soon(self._moved, session, mover, index)
        return True

    def _moved(self, session: Session, mover: _Mover, index: int) -> None:
        """After the bytes that came together with the packet have been read."""
        if session.closed:
            return
        messages = [one if isinstance(one, bytes) else "4" + one for one in mover.messages]
        if session.wire is None:
            leaving = self.polling.leave(session.sid, index, bytes(session.scope), messages)
            leaving.add_done_callback(lambda future: self._left(session, mover, index, future))
        elif self.endpoint.leave(session, index, messages):
            session.data.forget()
        else:
            self._stay(session, mover)

    def _left(self, session: Session, mover: _Mover, index: int, future: asyncio.Future[Answer]) -> None:
        """The other gateway has the polling session, or has said no."""
        if session.closed:
            return
        if future.cancelled() or future.exception() is not None or future.result()[0] != 200:
            self._stay(session, mover)
            return
        if self.sessions.get(session.sid) is session:  # else it has come back before the answer
            self.peers.move(session.sid, index)
        self.sessions.part(session)
        session.data.forget()

    def _stay(self, session: Session, mover: _Mover) -> None:
        """Here nobody knows the client: it begins anew."""
        session.app = self.hub
        for message in mover.messages:
            if session.closed:
                return
            session.message(message if isinstance(message, bytes) else "4" + message)


class _Mover:
    """Keeps what a session receives while it is about to move."""

    def __init__(self, messages: list[str | bytes]) -> None:
        self.messages = messages

    def received(self, session: Session, data: str | bytes) -> None:
        self.messages.append(data)

    def closed(self, session: Session, reason: str) -> None:
        """It had no client yet."""

    def overflowed(self, session: Session) -> None:
        """It had no client yet."""
