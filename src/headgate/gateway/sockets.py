"""All WebSockets of a gateway: how they begin, how they are kept alive, and how they end when it stops."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import unquote

import httptools
import msgspec
from websockets.server import ServerProtocol

from headgate.base.errors import Full
from headgate.gateway import codes, sessions
from headgate.gateway.admission import Admission
from headgate.gateway.channels import Channels
from headgate.gateway.connection import Connection
from headgate.gateway.deflate import Deflate
from headgate.gateway.events import Peek
from headgate.gateway.exchange import Exchange, WorkerLink
from headgate.gateway.follows import Follows
from headgate.gateway.handshake import Handshake, OpenTask, check, response
from headgate.gateway.heads import BadHead, Head
from headgate.gateway.httpproto import HttpProtocol
from headgate.gateway.limits import Bucket, PerKey
from headgate.gateway.loops import LoopConnection
from headgate.gateway.native import NativeConnection
from headgate.gateway.outbox import Outbox
from headgate.gateway.pages import page
from headgate.gateway.resume import Capabilities
from headgate.gateway.sessions import Sessions
from headgate.gateway.web import Web
from headgate.gateway.wire import Wire, new_protocol
from headgate.link.messages import Accept, Closed, Effect

log = logging.getLogger("headgate.gateway")

SHUT: Final = 0.5
"""Seconds, at most, before an old gateway moves its first socket: the others are still shutting their doors, and a
client that comes back sooner could come to one of them, and be moved again."""
DRAIN_PER_SECOND: Final = 500
"""Sockets closed per second when the gateway stops, unless its deadline wants it faster."""


class Terms(msgspec.Struct, frozen=True):
    """The bounds and times that hold for every socket (seconds, bytes, counts)."""

    max_message: int
    inbox: int
    outbox_bytes: int
    outbox_age: float
    ping_interval: float
    ping_timeout: float
    event_field: tuple[str, ...]
    origins: tuple[str, ...]
    handshake_rate: float
    message_rate: float
    sockets_per_address: int
    sockets_per_key: int
    handshakes: int
    deflate: Deflate | None = None


class Sockets:
    """Every WebSocket from its handshake to its end."""

    def __init__(
        self,
        terms: Terms,
        exchange: Exchange,
        web: Web,
        channels: Channels,
        follows: Follows,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.terms = terms
        self.inbox = terms.inbox
        self.exchange = exchange
        self.channels = channels
        self.follows = follows
        self.now = now
        self.connections: dict[str, Connection] = {}
        self.waiting: set[Connection] = set()
        """Those with an outbox."""
        self.wires: set[Wire] = set()
        self.limited: Counter[str] = Counter()
        """How often each bound was reached, by its setting."""
        self.refused = self.closed_slow = self.closed_silent = self.dropped = self.opened_total = 0
        self.closed_broken = self.closed_too_big = 0
        self._web = web
        self._peek = Peek(terms.event_field)
        self._peeks: dict[tuple[str, ...], Peek] = {}
        self._wheel: list[set[Wire]] = [set() for _ in range(max(1, round(terms.ping_interval)))]
        self._turn = 0
        self._stopping = False
        self._admission = Admission(terms.handshake_rate, terms.handshakes, random.random)
        self._addresses = PerKey(terms.sockets_per_address)
        self._keys = PerKey(terms.sockets_per_key)
        self.handshakes: set[Handshake] = set()
        """Those under way: sent to the app, or waiting for a slot."""
        self.sessions = Sessions(lambda claim: channels.tell(sessions.CHANNEL, claim))
        channels.listen(sessions.CHANNEL, self.sessions.heard)
        self.on_done: Callable[[dict[str, Any], Head, Handshake], None] = lambda *_: None
        """Hears of each handshake's end."""
        self.on_departed: Callable[[], None] = lambda: None
        """Called when a socket's TCP connection is gone."""
        self.capabilities: Capabilities | None = None
        """Signs what clients come back by; without it they cannot resume by themselves."""
        exchange.on_effects = self.effects

    # beginning

    def upgrade(self, protocol: HttpProtocol, target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """A handshake came on an HTTP connection."""
        handshake = check(self, protocol, target.decode("latin-1"), headers)
        raw_path, _, query = target.partition(b"?")
        said = {"method": "GET", "raw_path": raw_path, "query_string": query, "headers": headers}
        handshake.on_end = lambda ended: self.on_done(said, Head(protocol.client, "ws"), ended)
        if handshake.done:
            handshake.on_end(handshake)
            return
        if self._stopping:
            wait = 1 + 4 * random.random()
            handshake.refuse(page(503, "stopping", "This server is about to stop: connect again.", retry_after=wait))
            return
        if wait := self._admission.refused(len(self.handshakes), self.now()):
            self.limited[self._admission.bound(len(self.handshakes))] += 1
            handshake.refuse(page(503, "too_many_handshakes", "Too many connect at once.", retry_after=wait))
            return
        try:
            self._open(handshake, protocol, target, headers)
        except (BadHead, httptools.HttpParserInvalidURLError) as exc:
            handshake.refuse(page(400, "malformed", f"The handshake has {exc}."))
        except Full as exc:
            handshake.refuse(page(503, "busy", f"{exc}.", retry_after=exc.retry_after))

    def opened(
        self, task: OpenTask, link: WorkerLink, handshake: Handshake, accept: Accept, scope: msgspec.Raw
    ) -> None:
        """The app accepted: the connection is a socket from here on, unless its key has too many."""
        key = _key_of(accept)
        if not self._keys.take(key):
            self.limited["sockets_per_key"] += 1
            handshake.refuse(page(429, "too_many_sockets", "Too many sockets with this key.", retry_after=10))
            if not accept.native:
                self.leave_loop(task, link, accept)
            return
        self.handshakes.discard(handshake)
        handshake.end(101)
        connection: Connection
        if accept.native:
            connection = NativeConnection(self, task.connection_id, scope, accept)
        else:
            loop = connection = LoopConnection(self, task.connection_id, scope, link, task.stream)
            self.exchange.release(task, loop)
            self._hold(accept.handler)
        transport = handshake.transport
        connection.address, connection.key = handshake.address, key
        wire = connection.wire = Wire(transport, handshake.proto, connection, self._lost)
        handshake.http_protocol.hand_over()
        self.connections[connection.id] = connection
        self._remember(wire)
        transport.write(response(handshake, accept))
        transport.set_protocol(wire)
        self._enter_session(connection, task, accept)
        connection.apply(accept.effects)
        if early := handshake.early():
            wire.data_received(early)

    def leave_loop(self, task: OpenTask, link: WorkerLink, accept: Accept) -> None:
        """A loop accepted a client that has gone in the meantime: it is told."""
        self.exchange.end(task, accept.handler, accept.run, whole=False)
        link.transport.send(Closed(task.stream, codes.ABNORMAL, "the client went away during the handshake"))

    def admission_wait(self) -> float:
        """Seconds after which a new connection may be asked for; 0 when now is right."""
        return self._admission.refused(len(self.handshakes), self.now()) or 0.0

    def new_protocol(self) -> ServerProtocol:
        return new_protocol(self.terms.max_message, self.terms.deflate)

    def new_outbox(self, connection: Connection) -> Outbox:
        self.waiting.add(connection)
        return Outbox(self.terms.outbox_bytes, self.terms.outbox_age)

    def allows_origin(self, origin: str | None, host: str) -> bool:
        """Whether a page of this origin may connect; programs that are no browsers send none, and may."""
        allowed = self.terms.origins
        if origin is None or "*" in allowed:
            return True
        same = origin.partition("://")[2] == host
        return origin in allowed or (same and "self" in allowed)

    def peek(self, fields: Any) -> Peek:
        """What reads the event names of a socket that has fields of its own."""
        if not fields:
            return self._peek
        key = tuple(map(str, fields))
        if key not in self._peeks:
            self._peeks[key] = Peek(key)
        return self._peeks[key]

    # while they live

    def effects(self, connection_id: str, effects: Sequence[Effect]) -> None:
        connection = self.connections.get(connection_id)
        if connection is not None:
            connection.apply(effects)

    def forget(self, connection: Connection) -> None:
        self.connections.pop(connection.id, None)
        if connection.address:
            self._addresses.give(connection.address)
        if connection.key:
            self._keys.give(connection.key)
        if connection.session:
            self.sessions.leave(connection.session, connection)

    def given_up(self, handshake: Handshake) -> None:
        """A handshake came to nothing."""
        self.handshakes.discard(handshake)
        if handshake.address:
            self._addresses.give(handshake.address)

    def new_bucket(self) -> Bucket | None:
        """What bounds the messages per second of one connection; None when nothing does."""
        return Bucket(self.terms.message_rate) if self.terms.message_rate else None

    def dropped_so_far(self) -> int:
        """Channel messages that slow clients did not get."""
        return self.dropped + sum(connection.dropped() for connection in self.waiting)

    def second(self) -> None:
        """To be called once a second: pings, silent clients, outboxes that are too old."""
        now = self.now()
        for connection in list(self.waiting):
            connection.check(now)
        if self.terms.ping_interval > 0:
            self._turn = (self._turn + 1) % len(self._wheel)
            for wire in list(self._wheel[self._turn]):
                self._keep_alive(wire, now)

    async def drain(self, seconds: float, *, gradual: bool = False) -> None:
        """Close every socket with 1012, spread over time so that not all come back at once.

        Args:
            seconds: there are for it.
            gradual: another gateway has the place already: take most of the time; the client may come back at once.
        """
        self._stopping = not gradual  # who has connected before the door was shut is served, and moved at the end
        if gradual:
            await asyncio.sleep(min(SHUT, seconds * 0.1))
        wires = [wire for wire in self.wires if wire.open]
        pause = seconds * 0.6 / max(1, len(wires))
        if not gradual:
            pause = min(pause, 1 / DRAIN_PER_SECOND)
        together = max(1, min(20, int(0.1 / pause)))
        for number, wire in enumerate(wires):
            wait = 0.1 + random.random() * (0.4 if gradual else 2.1)
            wire.close(codes.RESTART, f"the server restarts; retry in {wait:.1f} s")
            if number % together == together - 1:
                await asyncio.sleep(together * pause)
        self._stopping = True
        for wire in [wire for wire in self.wires if wire.open]:  # those that came meanwhile
            wire.close(codes.RESTART, f"the server restarts; retry in {random.random():.1f} s")
        until = self.now() + max(0.5, seconds * 0.3)
        while self.wires and self.now() < until:  # noqa: ASYNC110 - they end by many ways, one by one
            await asyncio.sleep(0.05)
        for wire in list(self.wires):
            wire.abort()
        await asyncio.sleep(0)

    def _open(
        self, handshake: Handshake, protocol: HttpProtocol, target: bytes, headers: list[tuple[bytes, bytes]]
    ) -> None:
        url = httptools.parse_url(target)
        raw_path = url.path or b"/"
        scope: dict[str, Any] = {
            "path": _unquoted(raw_path),
            "raw_path": raw_path,
            "query_string": url.query or b"",
            "http_version": "1.1",
            "server": protocol.server,
            "client": protocol.client,
            "scheme": "wss" if protocol.scheme == "https" else "ws",
            "headers": headers,
            "subprotocols": _subprotocols(headers),
        }
        if scope["path"].startswith("/-/"):
            handshake.refuse(page(404, "not_found", "There is no WebSocket at this address."))
            return
        head = self._web.read_head(scope)
        scope["method"] = "GET"
        handshake.on_end = lambda ended: self.on_done(scope, head, ended)
        handshake.address = head.client[0] if head.client is not None and self.terms.sockets_per_address else ""
        if not self._addresses.take(handshake.address):
            handshake.address = ""
            self.limited["sockets_per_address"] += 1
            handshake.refuse(page(429, "too_many_sockets", "Too many sockets from this address.", retry_after=10))
            return
        task = OpenTask(
            self, handshake, self._web.handler_of("ws", scope["path"]), self._web.link_scope(scope, head, "GET")
        )
        handshake.task = task
        self.handshakes.add(handshake)
        self.exchange.submit(task)

    def _enter_session(self, connection: Connection, task: OpenTask, accept: Accept) -> None:
        name = sessions.session_of(accept.handler, accept.options, accept.headers, task.query)
        if name:
            connection.session = name
            self.sessions.enter(name, connection)

    def _hold(self, handler: str) -> None:
        if self.exchange.learner.hold(handler, "a loop: each connection keeps a thread"):
            self.exchange.relane(handler)

    def _remember(self, wire: Wire) -> None:
        self.wires.add(wire)
        self.opened_total += 1
        self._wheel[self.opened_total % len(self._wheel)].add(wire)

    def _lost(self, wire: Wire) -> None:
        self.closed_broken += wire.failed != 0
        self.closed_too_big += wire.failed == codes.TOO_BIG
        self.wires.discard(wire)
        for slot in self._wheel:
            slot.discard(wire)
        self.on_departed()

    def _keep_alive(self, wire: Wire, now: float) -> None:
        if not wire.open or not wire.reading:
            return
        if wire.pinged and not wire.heard:
            if now - wire.pinged >= self.terms.ping_timeout:
                self.closed_silent += 1
                wire.close(codes.INTERNAL, "no answer to a ping")
            return
        wire.ping(now)


def _key_of(accept: Accept) -> str:
    """What the app wants a socket counted by, with others of the same key."""
    told = accept.options.get("key")
    if told is None:
        told = next((value.decode("latin-1") for name, value in accept.headers if name == b"x-headgate-key"), "")
    return str(told)[: sessions.LONGEST]


def _unquoted(raw_path: bytes) -> str:
    return unquote(raw_path.decode("ascii", "replace"))


def _subprotocols(headers: list[tuple[bytes, bytes]]) -> list[str]:
    found: list[str] = []
    for name, value in headers:
        if name == b"sec-websocket-protocol":
            found += [part.strip() for part in value.decode("latin-1").split(",") if part.strip()]
    return found
