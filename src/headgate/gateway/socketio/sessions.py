"""The Engine.IO sessions of one gateway: made, found, ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from headgate.gateway import codes
from headgate.gateway.socketio.peers import Peers
from headgate.gateway.socketio.session import TRANSPORT_CLOSE, Application, Session, Terms
from headgate.link.socketio import SioServer, gateway_of


class Sessions:
    """All sessions.

    Args:
        app: what they carry messages for.
        opened: hears of each that begins.
        new_sid: makes the sid of a session.
        index: which gateway this is.
        peers: the other gateways.
        outbox: bytes and seconds that may wait for one client.
        most: sessions at once.
        admit: seconds after which a new session may be asked for; 0 for now.
    """

    def __init__(
        self,
        app: Application,
        opened: Callable[[Session], None],
        new_sid: Callable[[], str],
        index: int,
        peers: Peers,
        *,
        outbox: tuple[int, float],
        most: int,
        admit: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.app = app
        self.server: SioServer | None = None
        self.opened_total = self.refused = 0
        self._open: dict[str, Session] = {}
        self.on_opened = opened
        self._new_sid = new_sid
        self._index = index
        self._peers = peers
        self._outbox = outbox
        self._most = most
        self._admit = admit
        self._dropped = 0
        self._terms: Terms | None = None
        self._stopping = False

    def __len__(self) -> int:
        return len(self._open)

    def serves(self, server: SioServer) -> None:
        """An app worker said what the app's server is like."""
        self.server = server
        self._terms = Terms(server.ping_interval, server.ping_timeout, server.max_payload, *self._outbox)

    def get(self, sid: str) -> Session | None:
        return self._open.get(sid)

    def owner(self, sid: str) -> int | None:
        """The other gateway that holds a session; None if it would be this one."""
        if sid in self._open:
            return None
        moved = self._peers.moved.get(sid)
        index = moved if moved is not None else gateway_of(sid)
        return index if index is not None and index != self._index and self._peers.knows(index) else None

    def full(self) -> float:
        """Seconds after which a new session may be asked for; 0 for now."""
        wait = 1.0 if self._stopping or len(self._open) >= self._most else self._admit()
        if wait:
            self.refused += 1
        return wait

    def new(self, scope: Any) -> Session:
        """Begin a session with a client whose handshake this is (encoded)."""
        self.opened_total += 1
        return self.resume(self._new_sid(), scope)

    def resume(self, sid: str, scope: Any) -> Session:
        """Go on with a session that began on another gateway."""
        assert self._terms is not None
        self._peers.moved.pop(sid, None)  # it may have begun here: now it is here again
        one = Session(sid, self._terms, self.app, asyncio.get_running_loop(), scope, self._gone)
        self._open[sid] = one
        self.on_opened(one)
        return one

    def part(self, one: Session) -> None:
        """A session goes on elsewhere."""
        if self._open.get(one.sid) is one:  # it may have come back before the other gateway's answer
            del self._open[one.sid]
        one.part()

    def open_packet(self, one: Session, upgrades: list[str]) -> bytes:
        """The first packet of a session."""
        server = self.server
        assert server is not None
        told = {
            "sid": one.sid,
            "upgrades": upgrades,
            "pingTimeout": round(server.ping_timeout * 1000),
            "pingInterval": round(server.ping_interval * 1000),
            "maxPayload": server.max_payload,
        }
        return b"0" + msgspec.json.encode(told)

    @property
    def polling(self) -> int:
        """Sessions without a WebSocket."""
        return sum(1 for one in self._open.values() if one.wire is None)

    @property
    def dropped(self) -> int:
        """Packets that slow clients did not get."""
        return self._dropped + sum(one.dropped for one in self._open.values())

    def second(self) -> None:
        """To be called once a second."""
        for one in list(self._open.values()):
            one.check()

    async def drain(self, seconds: float) -> None:
        """End every session, spread over time so that not all come back at once."""
        self._stopping = True
        sessions = list(self._open.values())
        pause = min(seconds * 0.5 / max(1, len(sessions)), 1 / 500)
        for number, one in enumerate(sessions):
            one.close(TRANSPORT_CLOSE, codes.RESTART, "the server restarts")
            if number % 20 == 19:
                await asyncio.sleep(20 * pause)

    def _gone(self, one: Session) -> None:
        self._open.pop(one.sid, None)
        self._dropped += one.dropped
