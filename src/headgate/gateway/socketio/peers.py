"""The other gateways of this machine: a request for a session of theirs is passed on, a WebSocket handed over.

Polls and posts travel as messages over a Unix stream socket. A WebSocket's connection itself goes to the gateway
that holds its session, as a descriptor over a datagram socket, and after that nothing is in between.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import itertools
import logging
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from websockets.server import ServerProtocol

from headgate.base.errors import ProtocolError
from headgate.base.frames import FrameReader, frame
from headgate.gateway.handshake import Handshake
from headgate.gateway.pages import Page
from headgate.gateway.wire import new_protocol

log = logging.getLogger("headgate.gateway")

MOST_FRAME: Final = 64 * 1024 * 1024
MOST_HANDED: Final = 160 * 1024
"""Bytes that go along with a descriptor; a Unix datagram takes little more."""
MOST_MOVED: Final = 20_000
Answer = tuple[int, bytes]
_AWAY: Final[Answer] = (400, b'{"code":1,"message":"Session ID unknown"}')


class Handed(msgspec.Struct, array_like=True):
    """What goes along with a WebSocket's descriptor."""

    sid: str
    accepted: bytes
    """The 101 response, not sent yet; empty if it was."""
    early: bytes
    """Bytes that the client has sent since."""
    scope: bytes = b""
    """Of a session that moves altogether."""
    messages: list[Any] = []
    """What it has received and not looked at."""
    hops: int = 1
    """Gateways that it has been given to."""


class Asked(msgspec.Struct, array_like=True):
    number: int
    kind: str
    """poll | post | gone | settle"""
    sid: str = ""
    body: bytes = b""
    hops: int = 1
    """Gateways that it has been passed on to."""


class Adopted(asyncio.Protocol):
    """A connection that came as a descriptor, until its WebSocket takes it over: what is used of a `Handshake`."""

    def __init__(self, handed: Handed, proto: ServerProtocol, on_made: Callable[[Adopted], None]) -> None:
        self.handed = handed
        self.proto = proto
        self.accepted = handed.accepted
        self.done = False
        self.http_protocol = self
        self._on_made = on_made
        self._more: list[bytes] = []
        self.transport: asyncio.Transport
        self.on_lost: Callable[[], None] = lambda: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._on_made(self)

    def data_received(self, data: bytes) -> None:
        self._more.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.on_lost()

    def early(self) -> bytes:
        return self.handed.early + b"".join(self._more)

    def refuse(self, told: Page) -> None:
        if not self.done:
            self.done = True
            if self.accepted:
                self.transport.write(told.wire())
            self.transport.close()

    def hand_over(self) -> None:
        """A WebSocket takes it over, and its count with it."""
        self.on_lost = lambda: None


class Peers:
    """One gateway's end of the connections between gateways.

    Args:
        folder: where their sockets are (0700).
        index, gateways: which one this is, of how many.
    """

    def __init__(self, folder: Path, index: int, gateways: int) -> None:
        self.poll: Callable[[str, Callable[[Callable[[], None]], None], int], Awaitable[Answer]]
        self.post: Callable[[str, bytes, int], Awaitable[Answer]]
        self.adopt: Callable[[Adopted], None]
        self.settle: Callable[[str, bytes], None]
        """Take a polling session in that comes from another gateway."""
        self.arrived: Callable[[], None] = lambda: None
        """Called when a connection came that has to be counted."""
        self.departed: Callable[[], None] = lambda: None
        self.most_message = 1_000_000
        self.moved: dict[str, int] = {}
        """Sessions that began here and live elsewhere."""
        self.asked = self.handed = self.taken = 0
        self._folder = folder
        self._index = index
        self._gateways = gateways
        self._numbers = itertools.count(1)
        self._links: dict[int, _Peer] = {}
        self._server: asyncio.Server | None = None
        self._datagrams: socket.socket | None = None
        self._bound: dict[Path, int] = {}
        self._adopting: set[asyncio.Task[None]] = set()

    def knows(self, index: int) -> bool:
        return self._server is not None and 0 <= index < self._gateways

    def onward(self, sid: str, hops: int) -> int | None:
        """Where a session that began here lives now; None if it is unknown, or the request has been everywhere.

        Sessions may move more than once, and each gateway knows of one step. A request that has seen every gateway
        goes in a circle.
        """
        return self.moved.get(sid) if hops < self._gateways - 1 else None

    async def start(self) -> None:
        """Take part, if there are others."""
        if self._gateways < 2:
            return
        for path in (self._stream(self._index), self._datagram(self._index)):
            path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(self._stream(self._index)))
        sock = self._datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MOST_HANDED)
        sock.bind(str(self._datagram(self._index)))
        self._bound = {path: path.stat().st_ino for path in (self._stream(self._index), self._datagram(self._index))}
        asyncio.get_running_loop().add_reader(sock.fileno(), self._arrivals)

    async def close(self) -> None:
        if self._datagrams is not None:
            asyncio.get_running_loop().remove_reader(self._datagrams.fileno())
            self._datagrams.close()
        if self._server is not None:
            self._server.close()
        for link in list(self._links.values()):
            link.close()
        for path, inode in self._bound.items():  # a gateway that takes over may have put its own there meanwhile
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == inode:
                    path.unlink()
        self._bound.clear()

    # asking

    async def ask(
        self,
        index: int,
        kind: str,
        sid: str,
        on_gone: Callable[[Callable[[], None]], None] = lambda _: None,
        body: bytes = b"",
        hops: int = 1,
    ) -> Answer:
        """Have another gateway answer a request for one of its sessions."""
        link = await self._link(index)
        if link is None:
            return _AWAY
        self.asked += 1
        number = next(self._numbers)
        future = link.expect(number)
        link.send(Asked(number, kind, sid, body, hops))

        def gone() -> None:
            link.send(Asked(number, "gone"))
            link.answered(number, _AWAY)

        on_gone(gone)
        return await future

    async def _link(self, index: int) -> _Peer | None:
        link = self._links.get(index)
        if link is None or link.closed:
            try:
                reader, writer = await asyncio.open_unix_connection(str(self._stream(index)))
            except OSError:
                return None
            link = self._links[index] = _Peer(reader, writer)
        return link

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One peer's questions."""
        frames = FrameReader(MOST_FRAME)
        waiting: dict[int, Callable[[], None]] = {}
        tasks: set[asyncio.Task[None]] = set()

        async def answer(asked: Asked) -> None:
            if asked.kind == "settle":
                self.settle(asked.sid, asked.body)
                found: Answer = (200, b"")
            elif asked.kind == "poll":
                found = await self.poll(asked.sid, lambda gone: waiting.__setitem__(asked.number, gone), asked.hops)
            else:
                found = await self.post(asked.sid, asked.body, asked.hops)
            waiting.pop(asked.number, None)
            writer.write(frame(msgspec.msgpack.encode((asked.number, *found))))

        try:
            while data := await reader.read(65536):
                for payload in frames.feed(data):
                    asked = _decode_asked(payload)
                    if asked.kind == "gone":
                        if (gone := waiting.pop(asked.number, None)) is not None:
                            gone()
                        continue
                    task = asyncio.get_running_loop().create_task(answer(asked))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
        except (OSError, ProtocolError, msgspec.MsgspecError, asyncio.CancelledError) as exc:
            log.debug("a gateway's questions end: %r", exc)
        finally:
            for gone in list(waiting.values()):
                gone()
            for task in tasks:
                task.cancel()
            writer.close()

    # handing over

    def hand(self, index: int, handshake: Handshake, sid: str, accepted: bytes) -> bool:
        """Give a WebSocket handshake to the gateway that holds its session."""
        handed = Handed(sid, accepted, handshake.early())
        if not self._send(index, handed, handshake.transport):
            return False
        handshake.done = True
        handshake.transport.abort()  # closes our descriptor; the other gateway has its own
        return True

    def move(self, sid: str, index: int) -> None:
        """Requests for a session that began here go to another gateway from now on."""
        self.moved[sid] = index
        if len(self.moved) > MOST_MOVED:
            self.moved.pop(next(iter(self.moved)))

    def give(self, index: int, handed: Handed, transport: asyncio.Transport) -> bool:
        """Give a session with its open WebSocket (or none: a polling one) to another gateway."""
        return self._send(index, handed, transport)

    def _send(self, index: int, handed: Handed, transport: asyncio.Transport) -> bool:
        payload = msgspec.msgpack.encode(handed)
        if self._datagrams is None or len(payload) > MOST_HANDED or transport.get_write_buffer_size():
            return False
        if transport.get_extra_info("sslcontext") is not None:  # the keys of TLS are in this process
            return False
        rights = array.array("i", [transport.get_extra_info("socket").fileno()])
        try:
            self._datagrams.sendmsg(
                [payload], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)], 0, str(self._datagram(index))
            )
        except OSError:  # it is gone, or its queue is full
            return False
        self.handed += 1
        return True

    def _arrivals(self) -> None:
        assert self._datagrams is not None
        for _ in range(64):
            try:
                payload, descriptors, _, _ = socket.recv_fds(self._datagrams, MOST_HANDED + 1024, 4)
            except (BlockingIOError, InterruptedError):
                return
            for descriptor in descriptors:
                self._take(payload, socket.socket(fileno=descriptor))

    def _take(self, payload: bytes, sock: socket.socket) -> None:
        try:
            handed = _decode_handed(payload)
        except msgspec.MsgspecError:
            sock.close()
            return
        self.taken += 1
        loop = asyncio.get_running_loop()

        def made() -> Adopted:
            return Adopted(handed, new_protocol(self.most_message), self._made)

        async def adopt() -> None:
            with contextlib.suppress(OSError):  # the client has gone meanwhile
                sock.setblocking(False)
                await loop.connect_accepted_socket(made, sock)

        task = loop.create_task(adopt())
        self._adopting.add(task)
        task.add_done_callback(self._adopting.discard)

    def _made(self, adopted: Adopted) -> None:
        adopted.on_lost = self.departed
        self.arrived()
        self.adopt(adopted)

    def _stream(self, index: int) -> Path:
        return self._folder / f"sio.{index}.sock"

    def _datagram(self, index: int) -> Path:
        return self._folder / f"siofd.{index}.sock"


class _Peer:
    """Our questions to one gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.closed = False
        self._writer = writer
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._task = asyncio.get_running_loop().create_task(self._read(reader))

    def expect(self, number: int) -> asyncio.Future[Answer]:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        return future

    def send(self, asked: Asked) -> None:
        if not self.closed:
            self._writer.write(frame(msgspec.msgpack.encode(asked)))

    def answered(self, number: int, answer: Answer) -> None:
        future = self._waiting.pop(number, None)
        if future is not None and not future.done():
            future.set_result(answer)

    def close(self) -> None:
        self.closed = True
        self._task.cancel()
        self._writer.close()
        for number in list(self._waiting):
            self.answered(number, _AWAY)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        frames = FrameReader(MOST_FRAME)
        try:
            while data := await reader.read(65536):
                for payload in frames.feed(data):
                    number, status, body = msgspec.msgpack.decode(payload)
                    self.answered(number, (status, body))
        except (OSError, ProtocolError):
            pass
        finally:
            self.close()


_decode_asked: Final = msgspec.msgpack.Decoder(Asked).decode
_decode_handed: Final = msgspec.msgpack.Decoder(Handed).decode
