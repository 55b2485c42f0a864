"""Engine.IO over HTTP: handshakes, polls and posts."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from headgate.gateway import bodies
from headgate.gateway.bodies import Pace
from headgate.gateway.heads import BadHead
from headgate.gateway.httpproto import GONE
from headgate.gateway.socketio import cors, session
from headgate.gateway.socketio.codec import Malformed
from headgate.gateway.socketio.cors import Header
from headgate.gateway.socketio.moves import Poll
from headgate.gateway.socketio.peers import Peers
from headgate.gateway.socketio.sessions import Sessions
from headgate.gateway.web import Message, Receive, Send, Web
from headgate.link.socketio import SioServer

VERSIONS: Final = ("4",)
"""Of Engine.IO."""
MOST_COMPRESSED: Final = 256 * 1024
"""Bytes of a response that the loop takes the time to compress."""
_PLAIN: Final = [(b"content-type", b"text/plain; charset=UTF-8"), (b"cache-control", b"no-store")]
_CLOSE: Final = [(b"connection", b"close")]
"""Of an answer to a request whose body is not waited for."""
Answer = tuple[int, bytes]
_decode_settled: Final = msgspec.msgpack.Decoder(tuple[bytes, list[Any]]).decode


class Polling:
    """The requests of polling clients.

    Args:
        sessions: of this gateway.
        web: reads heads and makes scopes.
        peers: the other gateways.
        pace: at which the body of a post must come.
    """

    def __init__(self, sessions: Sessions, web: Web, peers: Peers, *, pace: Pace) -> None:
        self._sessions = sessions
        self._pace = pace
        self._web = web
        self._peers = peers
        peers.poll, peers.post, peers.settle = self.poll, self.post, self.settle

    async def answer(self, scope: Message, receive: Receive, send: Send) -> None:
        """One polling request."""
        server = self._sessions.server
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
            return await self._post(server, sid, receive)
        return 400, b'"Bad request"', []

    async def _post(self, server: SioServer, sid: str, receive: Receive) -> tuple[int, bytes, list[Header]]:
        if self._sessions.get(sid) is None and self._sessions.owner(sid) is None:
            return (*_unknown(sid), [])  # before anything of its body is kept
        try:
            body = await bodies.whole(receive, server.max_payload, self._pace)
        except bodies.TooLarge:
            self._give_up(sid)
            return 413, b'"The payload is larger than maxPayload"', []
        except (bodies.TooSlow, bodies.Disconnected):
            self._give_up(sid)
            return 408, b'"The payload did not come in time"', _CLOSE
        return (*await self._posted(sid, body), [])

    def _give_up(self, sid: str) -> None:
        """Packets of a session are lost: it cannot go on."""
        if (one := self._sessions.get(sid)) is not None:
            one.close(session.TRANSPORT_ERROR)

    def _handshake(self, server: SioServer, scope: Message) -> tuple[int, bytes, list[Header]]:
        wait = self._sessions.full()
        if wait:
            told = b'"This server takes no more sessions now: try again."'
            return 503, told, [(b"retry-after", b"%d" % max(1, round(wait)))]
        try:
            head = self._web.read_head(scope)
        except BadHead as exc:
            return 400, f'"The request has {exc}"'.encode(), []
        raw = msgspec.Raw(msgspec.msgpack.encode(self._web.link_scope(scope, head, "GET")))
        one = self._sessions.new(raw)
        cookie = [(b"set-cookie", server.cookie.replace("{sid}", one.sid).encode("latin-1"))] if server.cookie else []
        upgrades = ["websocket"] if server.allow_upgrades and "websocket" in server.transports else []
        return 200, self._sessions.open_packet(one, upgrades), cookie

    async def _poll(self, sid: str, scope: Message) -> Answer:
        owner = self._sessions.owner(sid)
        if owner is not None:
            return await self._peers.ask(owner, "poll", sid, lambda gone: scope.__setitem__(GONE, gone))
        return await self.poll(sid, lambda gone: scope.__setitem__(GONE, gone))

    async def _posted(self, sid: str, body: bytes) -> Answer:
        owner = self._sessions.owner(sid)
        if owner is not None:
            return await self._peers.ask(owner, "post", sid, body=body)
        return await self.post(sid, body)

    async def poll(self, sid: str, on_gone: Callable[[Callable[[], None]], None], hops: int = 0) -> Answer:
        """Wait for packets of a session; `on_gone` is given what to call when the client goes away.

        `hops`: gateways that the request has been passed on to, with this one.
        """
        one = self._sessions.get(sid)
        if one is None and (index := self._peers.onward(sid, hops)) is not None:
            return await self._elsewhere(index, sid, "poll", on_gone, hops + 1)
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

    async def _elsewhere(
        self,
        index: int,
        sid: str,
        kind: str,
        on_gone: Callable[[Callable[[], None]], None],
        hops: int,
        body: bytes = b"",
    ) -> Answer:
        """Pass on a request for a session that has moved."""
        answer = await self._peers.ask(index, kind, sid, on_gone, body, hops)
        if answer[0] == 400 and self._peers.moved.get(sid) == index:
            del self._peers.moved[sid]
        return answer

    def settle(self, sid: str, body: bytes) -> None:
        """A session that began on another gateway goes on here."""
        scope, messages = _decode_settled(body)
        one = self._sessions.resume(sid, msgspec.Raw(scope))
        for message in messages:
            if one.closed:
                return
            one.message(message)

    def leave(self, sid: str, index: int, scope: bytes, messages: list[str | bytes]) -> asyncio.Future[Answer]:
        """Have another gateway go on with a polling session of ours."""
        body = msgspec.msgpack.encode((scope, messages))
        return asyncio.ensure_future(self._peers.ask(index, "settle", sid, body=body))

    async def post(self, sid: str, body: bytes, hops: int = 0) -> Answer:
        """Packets that a polling client sent; `hops` as for `poll`."""
        one = self._sessions.get(sid)
        if one is None and (index := self._peers.onward(sid, hops)) is not None:
            return await self._elsewhere(index, sid, "post", lambda _: None, hops + 1, body)
        if one is None or one.wire is not None:
            return _unknown(sid)
        try:
            one.posted(body.decode())
        except (Malformed, UnicodeDecodeError) as exc:
            one.close(session.TRANSPORT_ERROR)
            return 400, msgspec.json.encode(str(exc))
        room = getattr(self._sessions.app, "room", None)
        if room is not None:
            await room(one)
        return 200, b"ok"


def _unknown(sid: str) -> Answer:
    return 400, msgspec.json.encode({"code": 1, "message": "Session ID unknown", "sid": sid[:64]})


def _jsonp(index: int, body: bytes) -> bytes:
    text = msgspec.json.encode(body.decode()).replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return b"___eio[%d](%s);" % (index, text)


def _compressed(server: SioServer, body: bytes, headers: list[Header]) -> tuple[bytes, list[Header]]:
    if not server.compress or not server.compress <= len(body) <= MOST_COMPRESSED:
        return body, []
    for part in cors.header(headers, b"accept-encoding").split(b","):
        name = part.split(b";")[0].strip()
        if name == b"gzip":
            return gzip.compress(body, 1), [(b"content-encoding", b"gzip")]
        if name == b"deflate":
            return zlib.compress(body, 1), [(b"content-encoding", b"deflate")]
    return body, []
