"""Engine.IO over WebSocket: handshakes of new sessions, upgrades, and connections that other gateways hand over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import httptools
import msgspec
from websockets.server import ServerProtocol

from headgate.gateway import codes
from headgate.gateway.handshake import Handshake, check, response
from headgate.gateway.heads import BadHead
from headgate.gateway.httpproto import HttpProtocol
from headgate.gateway.pages import Page, page
from headgate.gateway.socketio import cors
from headgate.gateway.socketio.cors import Header
from headgate.gateway.socketio.peers import Adopted, Handed, Peers
from headgate.gateway.socketio.polling import VERSIONS
from headgate.gateway.socketio.session import Session
from headgate.gateway.socketio.sessions import Sessions
from headgate.gateway.web import Web
from headgate.gateway.wire import NOBODY, Wire, new_protocol, text_frame
from headgate.link.messages import Accept
from headgate.link.socketio import SioServer

_WITHOUT: Final = Accept(0, True, "", None, [], {}, {}, [])


class Endpoint:
    """The WebSockets of Engine.IO sessions.

    Args:
        sessions: of this gateway.
        web: reads heads and makes scopes.
        peers: the other gateways.
    """

    def __init__(self, sessions: Sessions, web: Web, peers: Peers) -> None:
        self.on_departed: Callable[[], None] = lambda: None
        """Called when a WebSocket's TCP connection is gone."""
        self._sessions = sessions
        self._web = web
        self._peers = peers
        self._wires: set[Wire] = set()
        peers.adopt = self.adopt

    def upgrade(self, protocol: HttpProtocol, target: bytes, headers: list[Header]) -> None:
        """A handshake came on an HTTP connection."""
        server = self._sessions.server
        assert server is not None
        handshake = check(_Host(self._sessions, server, headers), protocol, target.decode("latin-1"), headers)
        if handshake.done:
            return
        query = parse_qs((httptools.parse_url(target).query or b"").decode("latin-1"))
        sid = query.get("sid", [""])[0]
        owner = self._sessions.owner(sid) if sid else None
        if owner is not None and self._peers.hand(owner, handshake, sid, response(handshake, _WITHOUT)):
            return
        refusal = self._judge(server, query, sid)
        if refusal is not None:
            handshake.refuse(refusal)
            return
        scope = b"" if sid else self._scope(protocol, target, headers)
        if scope is None:
            handshake.refuse(page(400, "malformed", "The handshake has contradictory headers."))
            return
        self._accept(handshake, sid, scope)

    def _judge(self, server: SioServer, query: dict[str, list[str]], sid: str) -> Page | None:
        if query.get("transport", [""])[0] != "websocket" or "websocket" not in server.transports:
            return page(400, "bad_transport", "This server allows no such transport.")
        if sid:
            one = self._sessions.get(sid)
            if one is None or not server.allow_upgrades:
                return page(400, "unknown_session", "There is no session of this sid that can be upgraded.")
            return None
        if query.get("EIO", [""])[0] not in VERSIONS:
            return page(400, "bad_version", "This server speaks Engine.IO 4.")
        if self._sessions.full():
            return page(503, "busy", "This server takes no more sessions now: try again.", retry_after=2)
        return None

    def _accept(self, handshake: Handshake, sid: str, scope: Any) -> None:
        handshake.done = True
        one = (self._sessions.get(sid) if sid else None) or self._sessions.new(scope)

        def begin(wire: Wire) -> bool:
            one.attach(wire)
            wire.write(text_frame(self._sessions.open_packet(one, [])))
            return True

        self._take_over(handshake, one, one.probe if sid else begin, response(handshake, _WITHOUT))

    def _take_over(
        self, handshake: Handshake | Adopted, one: Session, begin: Callable[[Wire], bool], first: bytes
    ) -> None:
        """Make a WebSocket of a connection, and let `begin` join it with the session."""
        handshake.done = True
        transport = handshake.transport
        wire = Wire(transport, handshake.proto, one, self._lost)
        handshake.http_protocol.hand_over()
        self._wires.add(wire)
        if first:
            transport.write(first)
        transport.set_protocol(wire)
        if not begin(wire):
            wire.peer = NOBODY
            wire.close(codes.BAD_DATA, "this session has a WebSocket already")
        if early := handshake.early():
            wire.data_received(early)

    def _scope(self, protocol: HttpProtocol, target: bytes, headers: list[Header]) -> Any:
        """The handshake for the app, encoded; None when its headers contradict themselves."""
        url = httptools.parse_url(target)
        scope = {
            "path": unquote((url.path or b"/").decode("ascii", "replace")),
            "raw_path": url.path or b"/",
            "query_string": url.query or b"",
            "http_version": "1.1",
            "server": protocol.server,
            "client": protocol.client,
            "scheme": "wss" if protocol.scheme == "https" else "ws",
            "headers": headers,
        }
        try:
            head = self._web.read_head(scope)
        except BadHead:
            return None
        return msgspec.Raw(msgspec.msgpack.encode(self._web.link_scope(scope, head, "GET")))

    def adopt(self, adopted: Adopted) -> None:
        """A WebSocket that another gateway handed over: for a session of ours, or with a session that moves here."""
        server, handed = self._sessions.server, adopted.handed
        if server is None:
            adopted.refuse(_UNKNOWN)
        elif handed.scope:
            self._settle(adopted, handed)
        elif (one := self._sessions.get(handed.sid)) is not None:
            self._take_over(adopted, one, one.probe, handed.accepted)
        elif (index := self._peers.onward(handed.sid, handed.hops)) is not None:
            handed.early = adopted.early()
            handed.hops += 1
            if self._peers.give(index, handed, adopted.transport):
                adopted.transport.abort()  # closes our descriptor; the other gateway has its own
            else:
                adopted.refuse(_UNKNOWN)
        else:
            adopted.refuse(_UNKNOWN)

    def _settle(self, adopted: Adopted, handed: Handed) -> None:
        """A session that began on another gateway goes on here."""
        one = self._sessions.resume(handed.sid, msgspec.Raw(handed.scope))

        def attach(wire: Wire) -> bool:
            one.attach(wire)
            for message in handed.messages:
                if not one.closed:
                    one.message(message)
            return True

        self._take_over(adopted, one, attach, b"")

    def leave(self, one: Session, index: int, messages: list[str | bytes]) -> bool:
        """Give a session with its WebSocket to another gateway, with what it has received and not looked at."""
        wire = one.wire
        if wire is None or not wire.open or wire.blocked:
            return False
        handed = Handed(one.sid, b"", wire.unread, bytes(one.scope), messages)
        if not self._peers.give(index, handed, wire.transport):
            return False
        self._sessions.part(one)
        wire.part()
        return True

    def _lost(self, wire: Wire) -> None:
        self._wires.discard(wire)
        self.on_departed()

    def abort(self) -> None:
        """Cut what has not ended by itself."""
        for wire in list(self._wires):
            wire.abort()


class _Host:
    """What `check` asks about a handshake."""

    def __init__(self, sessions: Sessions, server: SioServer, headers: list[Header]) -> None:
        self._sessions = sessions
        self._server = server
        self._headers = headers

    @property
    def refused(self) -> int:
        return self._sessions.refused

    @refused.setter
    def refused(self, count: int) -> None:
        self._sessions.refused = count

    def new_protocol(self) -> ServerProtocol:
        return new_protocol(self._server.max_payload)

    def allows_origin(self, origin: str | None, host: str) -> bool:
        return cors.allows(self._server, self._headers)

    def given_up(self, handshake: Handshake) -> None:
        """Nothing was counted."""


_UNKNOWN: Final = page(400, "unknown_session", "There is no session of this sid that can be upgraded.")
