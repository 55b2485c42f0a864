"""The address of the app's Socket.IO server: handshakes, polls, posts and WebSockets find their session here."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import httptools
import msgspec
from websockets.server import ServerProtocol

from headgate.gateway import codes
from headgate.gateway.handshake import Handshake, check, response
from headgate.gateway.heads import BadHead
from headgate.gateway.httpproto import GONE, HttpProtocol
from headgate.gateway.pages import Page, page
from headgate.gateway.socketio import cors, session
from headgate.gateway.socketio.codec import Malformed
from headgate.gateway.socketio.cors import Header
from headgate.gateway.socketio.peers import Adopted, Handed, Peers
from headgate.gateway.socketio.session import Application, Poll, Session, Terms
from headgate.gateway.web import Message, Receive, Send, Web
from headgate.gateway.wire import Wire, new_protocol, text_frame
from headgate.link.messages import Accept
from headgate.link.socketio import SioServer, gateway_of

VERSIONS: Final = ("4",)
"""Of Engine.IO."""
_PLAIN: Final = [(b"content-type", b"text/plain; charset=UTF-8"), (b"cache-control", b"no-store")]
_WITHOUT: Final = Accept(0, True, "", None, [], {}, {}, [])
Answer = tuple[int, bytes]


class Endpoint:
    """All Engine.IO sessions of one gateway.

    Args:
        app: what the sessions carry messages for, with `opened`.
        new_sid: makes the sid of a session.
        index: which gateway this is.
        web: reads heads and makes scopes.
        peers: the other gateways.
        outbox: bytes and seconds that may wait for one client.
        most: sessions at once.
    """

    def __init__(
        self,
        app: Application,
        new_sid: Callable[[], str],
        index: int,
        web: Web,
        peers: Peers,
        *,
        root_path: str = "",
        outbox: tuple[int, float] = (1024 * 1024, 60.0),
        most: int = 20_000,
        opened: Callable[[Session], None],
        admit: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.server: SioServer | None = None
        self.sessions: dict[str, Session] = {}
        self.opened_total = self.refused = 0
        self.dropped = 0
        self.on_departed: Callable[[], None] = lambda: None
        """Called when a WebSocket's TCP connection is gone."""
        self._app = app
        self._new_sid = new_sid
        self._index = index
        self._web = web
        self._peers = peers
        self._root = root_path.rstrip("/")
        self._outbox = outbox
        self._most = most
        self._opened = opened
        self._admit = admit
        self._terms: Terms | None = None
        self._stopping = False
        peers.poll, peers.post, peers.adopt = self.poll, self.post, self.adopt
        self._wires: set[Wire] = set()

    def serves(self, server: SioServer) -> None:
        """An app worker said what the app's server is like."""
        self.server = server
        self._terms = Terms(server.ping_interval, server.ping_timeout, server.max_payload, *self._outbox)

    def takes(self, path: str) -> bool:
        """Whether a request is for the Socket.IO server."""
        server = self.server
        if server is None:
            return False
        if self._root and path.startswith(self._root):
            path = path[len(self._root) :]
        return path.startswith(server.path) or path == server.path[:-1]

    # HTTP

    async def answer(self, scope: Message, receive: Receive, send: Send) -> None:
        """One polling request."""
        server = self.server
        assert server is not None
        headers: list[Header] = scope["headers"]
        method = scope["method"]
        extra: list[Header] = []
        if not cors.allows(server, headers):
            status, body = 400, b'"Not an accepted origin."'
        else:
            status, body, extra = await self._routed(server, scope, receive)
        query = parse_qs(scope["query_string"].decode("latin-1"))
        told = [*_PLAIN, *extra, *cors.answer(server, method, headers)]
        if status == 200 and "j" in query and query["j"][0].isdigit():
            body, told[0] = _jsonp(int(query["j"][0]), body), (b"content-type", b"text/javascript; charset=UTF-8")
        body, encoding = _compressed(server, body, headers)
        told += encoding
        told.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": told})
        await send({"type": "http.response.body", "body": body})

    async def _routed(self, server: SioServer, scope: Message, receive: Receive) -> tuple[int, bytes, list[Header]]:
        method = scope["method"]
        if method == "OPTIONS":
            return 200, b"OK", []
        query = parse_qs(scope["query_string"].decode("latin-1"))
        transport = query.get("transport", [""])[0]
        sid = query.get("sid", [""])[0]
        if transport != "polling" or transport not in server.transports:
            return 400, b'"Invalid transport"', []
        if method == "GET" and not sid:
            if query.get("EIO", [""])[0] not in VERSIONS:
                return 400, b'"The client speaks a version of the protocol that is not supported: Engine.IO 4 is"', []
            return self._handshake(server, scope)
        if method == "GET":
            return (*await self._poll(sid, scope), [])
        if method == "POST" and sid:
            body = await _body(receive, server.max_payload)
            if body is None:
                if (one := self.sessions.get(sid)) is not None:
                    one.close(session.TRANSPORT_ERROR)
                return 413, b'"The payload is larger than maxPayload"', []
            return (*await self._posted(sid, body), [])
        return 400, b'"Bad request"', []

    def _handshake(self, server: SioServer, scope: Message) -> tuple[int, bytes, list[Header]]:
        why = self._full()
        if why is not None:
            return why
        try:
            head = self._web.read_head(scope)
        except BadHead as exc:
            return 400, f'"The request has {exc}"'.encode(), []
        raw = msgspec.Raw(msgspec.msgpack.encode(self._web.link_scope(scope, head, "GET")))
        one = self._new(raw)
        cookie = [(b"set-cookie", server.cookie.replace("{sid}", one.sid).encode("latin-1"))] if server.cookie else []
        upgrades = ["websocket"] if server.allow_upgrades and "websocket" in server.transports else []
        return 200, self._open_packet(server, one, upgrades), cookie

    def _full(self) -> tuple[int, bytes, list[Header]] | None:
        """Why nobody is let in now."""
        wait = 1.0 if self._stopping or len(self.sessions) >= self._most else self._admit()
        if not wait:
            return None
        self.refused += 1
        return (
            503,
            b'"This server takes no more sessions now: try again."',
            [(b"retry-after", b"%d" % max(1, round(wait)))],
        )

    def _new(self, scope: Any) -> Session:
        assert self._terms is not None
        sid = self._new_sid()
        loop = asyncio.get_running_loop()
        one = self.sessions[sid] = Session(sid, self._terms, self._app, loop, scope, self._gone)
        self.opened_total += 1
        self._opened(one)
        return one

    def _gone(self, one: Session) -> None:
        self.sessions.pop(one.sid, None)
        self.dropped += one.dropped

    def _open_packet(self, server: SioServer, one: Session, upgrades: list[str]) -> bytes:
        told = {
            "sid": one.sid,
            "upgrades": upgrades,
            "pingTimeout": round(server.ping_timeout * 1000),
            "pingInterval": round(server.ping_interval * 1000),
            "maxPayload": server.max_payload,
        }
        return b"0" + msgspec.json.encode(told)

    async def _poll(self, sid: str, scope: Message) -> Answer:
        owner = self._owner(sid)
        if owner is not None:
            return await self._peers.ask(owner, "poll", sid, lambda gone: scope.__setitem__(GONE, gone))
        return await self.poll(sid, lambda gone: scope.__setitem__(GONE, gone))

    async def _posted(self, sid: str, body: bytes) -> Answer:
        owner = self._owner(sid)
        if owner is not None:
            return await self._peers.ask(owner, "post", sid, body=body)
        return await self.post(sid, body)

    def _owner(self, sid: str) -> int | None:
        """The other gateway that holds a session; None if it would be this one."""
        if sid in self.sessions:
            return None
        moved = self._peers.moved.get(sid)
        index = moved if moved is not None else gateway_of(sid)
        return index if index is not None and index != self._index and self._peers.knows(index) else None

    async def poll(self, sid: str, on_gone: Callable[[Callable[[], None]], None]) -> Answer:
        """Wait for packets of a session; `on_gone` is given what to call when the client goes away."""
        one = self.sessions.get(sid)
        if one is None or one.wire is not None:
            return _unknown(sid)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def done(status: int, payload: bytes) -> None:
            if not future.done():
                future.set_result((status, payload))

        def gone() -> None:
            poll.drop()
            done(400, b"")

        poll = Poll(done)
        on_gone(gone)
        one.poll(poll)
        return await future

    async def post(self, sid: str, body: bytes) -> Answer:
        """Packets that a polling client sent."""
        one = self.sessions.get(sid)
        if one is None or one.wire is not None:
            return _unknown(sid)
        try:
            one.posted(body.decode())
        except (Malformed, UnicodeDecodeError) as exc:
            one.close(session.TRANSPORT_ERROR)
            return 400, msgspec.json.encode(str(exc))
        room = getattr(self._app, "room", None)
        if room is not None:
            await room(one)
        return 200, b"ok"

    # WebSocket

    def upgrade(self, protocol: HttpProtocol, target: bytes, headers: list[Header]) -> None:
        """A handshake came on an HTTP connection."""
        server = self.server
        assert server is not None
        handshake = check(_Host(self, server, headers), protocol, target.decode("latin-1"), headers)
        if handshake.done:
            return
        query = parse_qs((httptools.parse_url(target).query or b"").decode("latin-1"))
        sid = query.get("sid", [""])[0]
        owner = self._owner(sid) if sid else None
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
        self._accept(server, handshake, sid, scope)

    def _judge(self, server: SioServer, query: dict[str, list[str]], sid: str) -> Page | None:
        if query.get("transport", [""])[0] != "websocket" or "websocket" not in server.transports:
            return page(400, "bad_transport", "This server allows no such transport.")
        if sid:
            one = self.sessions.get(sid)
            if one is None or one.wire is not None or not server.allow_upgrades:
                return page(400, "unknown_session", "There is no session of this sid that can be upgraded.")
            return None
        if query.get("EIO", [""])[0] not in VERSIONS:
            return page(400, "bad_version", "This server speaks Engine.IO 4.")
        if self._full() is not None:
            return page(503, "busy", "This server takes no more sessions now: try again.", retry_after=2)
        return None

    def _accept(self, server: SioServer, handshake: Handshake, sid: str, scope: Any) -> None:
        handshake.done = True
        one = self.sessions[sid] if sid else self._new(scope)

        def begin(wire: Wire) -> bool:
            one.attach(wire)
            wire.write(text_frame(self._open_packet(server, one, [])))
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
            wire.peer = _NOBODY
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
        server, handed = self.server, adopted.handed
        if server is None:
            adopted.refuse(_UNKNOWN)
        elif handed.scope:
            self._settle(adopted, handed)
        elif (one := self.sessions.get(handed.sid)) is None or one.wire is not None:
            adopted.refuse(_UNKNOWN)
        else:
            self._take_over(adopted, one, one.probe, handed.accepted)

    def _settle(self, adopted: Adopted, handed: Handed) -> None:
        """A session that began on another gateway goes on here."""
        assert self._terms is not None
        loop = asyncio.get_running_loop()
        one = Session(handed.sid, self._terms, self._app, loop, msgspec.Raw(handed.scope), self._gone)
        self.sessions[one.sid] = one
        self._opened(one)

        def attach(wire: Wire) -> bool:
            one.attach(wire)
            for message in handed.messages:
                one.message(message)
            return True

        self._take_over(adopted, one, attach, b"")

    def leave(self, one: Session, index: int, messages: list[str | bytes]) -> bool:
        """Give a session with its WebSocket to another gateway, with what it has received and not looked at."""
        wire = one.wire
        if wire is None or not wire.open or wire.blocked:
            return False
        handed = Handed(one.sid, b"", wire.unread(), bytes(one.scope), messages)
        if not self._peers.give(index, handed, wire.transport):
            return False
        self.sessions.pop(one.sid, None)
        one.part()
        wire.part()
        return True

    def _lost(self, wire: Wire) -> None:
        self._wires.discard(wire)
        self.on_departed()

    # life

    def second(self) -> None:
        """To be called once a second."""
        for one in list(self.sessions.values()):
            one.check()

    async def drain(self, seconds: float) -> None:
        """End every session, spread over time so that not all come back at once."""
        self._stopping = True
        sessions = list(self.sessions.values())
        pause = min(seconds * 0.5 / max(1, len(sessions)), 1 / 500)
        for number, one in enumerate(sessions):
            one.close(session.TRANSPORT_CLOSE, codes.RESTART, "the server restarts")
            if number % 20 == 19:
                await asyncio.sleep(20 * pause)

    def abort(self) -> None:
        """Cut what has not ended by itself."""
        for wire in list(self._wires):
            wire.abort()


class _Host:
    """What `check` asks about a handshake."""

    def __init__(self, endpoint: Endpoint, server: SioServer, headers: list[Header]) -> None:
        self._endpoint = endpoint
        self._server = server
        self._headers = headers

    @property
    def refused(self) -> int:
        return self._endpoint.refused

    @refused.setter
    def refused(self, count: int) -> None:
        self._endpoint.refused = count

    def new_protocol(self) -> ServerProtocol:
        return new_protocol(self._server.max_payload)

    def allows_origin(self, origin: str | None, host: str) -> bool:
        return cors.allows(self._server, self._headers)

    def given_up(self, handshake: Handshake) -> None:
        """Nothing was counted."""


class _Nobody:
    """The peer of a WebSocket that is turned away."""

    def message(self, data: str | bytes) -> None: ...

    def writable(self) -> None: ...

    def ended(self, code: int, reason: str) -> None: ...


_NOBODY: Final = _Nobody()
_UNKNOWN: Final = page(400, "unknown_session", "There is no session of this sid that can be upgraded.")


def _unknown(sid: str) -> Answer:
    return 400, msgspec.json.encode({"code": 1, "message": "Session ID unknown", "sid": sid[:64]})


async def _body(receive: Receive, most: int) -> bytes | None:
    """The whole body; None when it is larger than allowed."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(parts)
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _jsonp(index: int, body: bytes) -> bytes:
    text = msgspec.json.encode(body.decode()).replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return b"___eio[%d](%s);" % (index, text)


def _compressed(server: SioServer, body: bytes, headers: list[Header]) -> tuple[bytes, list[Header]]:
    if not server.compress or len(body) < server.compress:
        return body, []
    for part in cors.header(headers, b"accept-encoding").split(b","):
        name = part.split(b";")[0].strip()
        if name == b"gzip":
            return gzip.compress(body, 6), [(b"content-encoding", b"gzip")]
        if name == b"deflate":
            return zlib.compress(body), [(b"content-encoding", b"deflate")]
    return body, []
