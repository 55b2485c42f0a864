"""Clients that do what clients must not, workers that die, reloads: a seeded storm over a whole Headgate.

Beside it steady clients go on. At the end, what the processes hold is set against what they held at the start.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from websockets.exceptions import ConnectionClosed

from tests.support.headgate import Headgate
from tests.support.steady import PATIENCE, Steady

IDLE_SECONDS = 45.0
"""After these, threads that were idle have ended (handler threads stay for 30 s)."""


@dataclass(frozen=True)
class Held:
    """What one process holds."""

    descriptors: int
    threads: int
    memory: int
    """Bytes that are its own (`Private` of smaps_rollup)."""


def held(pid: int) -> Held:
    private = sum(
        int(line.split()[1]) * 1024
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        if line.startswith("Private")
    )
    status = Path(f"/proc/{pid}/status").read_text()
    threads = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("Threads"))
    return Held(len(os.listdir(f"/proc/{pid}/fd")), threads, private)


class Storm:
    """Faults over one server.

    Args:
        server: running `steady.APP`.
        seed: of what is done, and when.
    """

    def __init__(self, server: Headgate, seed: int) -> None:
        self.server = server
        self.done: Counter[str] = Counter()
        self.steady = Steady(server)
        self._random = random.Random(seed)
        self._pid = server.children()["gateway"][0]
        self._clients: list[Callable[[], Awaitable[None]]] = [
            self.stalled_reader, self.flood, self.malformed_frames, self.malformed_request, self.half_open,
            self.reset, self.handshake_cut, self.upload_cut, self.download_cut, self.session_again, self.failing,
            self.loop_cut, self.slow_head,
        ]  # fmt: skip

    async def everything_once(self, times: int = 1) -> None:
        """Each fault, so that what it loads and grows to is there at the start."""
        for _ in range(times):
            await asyncio.gather(*(self._do(fault) for fault in self._clients for _ in range(3)))
        for _ in range(times):  # every thread that writes bodies to the disk has been needed
            await asyncio.gather(*(self._do(self.upload_cut) for _ in range(30)))

    async def blow(self, seconds: float, *, every: float) -> None:
        """Faults of all kinds for so long, six at a time, with steady clients beside them.

        Args:
            every: seconds between two kills or reloads.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        self.steady.stopping = False
        steady = [asyncio.create_task(self.steady.native()) for _ in range(4)]
        steady += [asyncio.create_task(self.steady.requests()) for _ in range(2)]
        steady += [asyncio.create_task(self.steady.loop()) for _ in range(2)]

        async def clients() -> None:
            while loop.time() < end:
                await self._do(self._random.choice(self._clients))

        async def processes() -> None:
            while loop.time() + every < end:
                await asyncio.sleep(every * (0.5 + self._random.random()))
                fault = self._random.choice([self.kill, self.kill, self.kill, self.reload, self.reload, self.both])
                await fault()
                self.done[fault.__name__] += 1

        try:
            await asyncio.gather(*(clients() for _ in range(6)), processes())
        finally:
            self.steady.stopping = True
        await asyncio.wait_for(asyncio.gather(*steady), 2 * PATIENCE)

    async def calm(self) -> dict[str, float]:
        """Wait until nobody is connected and nothing is kept for anybody; returns the gateway's figures."""
        names = (
            "connections", "sockets", "http_active", "channels", "streams", "outboxes", "handshakes", "spool_files",
        )  # fmt: skip
        async with asyncio.timeout(2 * PATIENCE):
            while True:
                figures = await self.figures()
                if not any(figures[name] for name in names):
                    return figures
                await asyncio.sleep(0.2)

    async def figures(self) -> dict[str, float]:
        """The gateway's numbers without labels."""
        path = str(self.server.data / "run" / "admin.0.sock")
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        text = (await asyncio.wait_for(reader.read(), PATIENCE)).decode()
        writer.close()
        lines = [line.split() for line in text.splitlines() if line.startswith("headgate_") and "{" not in line]
        return {name.removeprefix("headgate_").removesuffix("_total"): float(value) for name, value in lines}

    def processes(self) -> dict[str, Held]:
        """What the processes that outlive a reload hold. A gateway or broker that is another one has failed."""
        roles = self.server.children()
        assert roles["gateway"] == [self._pid], "the gateway was replaced"
        (broker,) = roles["broker"]
        return {"supervisor": held(self.server.pid), "gateway": held(self._pid), "broker": held(broker)}

    def workers(self) -> list[Held]:
        return [held(pid) for pid in self.server.children().get("app", [])]

    # what befalls the server

    async def kill(self) -> None:
        await asyncio.to_thread(self.server.kill, "app", index=self._random.randrange(2))

    async def reload(self) -> None:
        await asyncio.to_thread(self.server.command, "reload", seconds=2 * PATIENCE)

    async def both(self) -> None:
        """A kill in the middle of a reload: one that hits a new worker ends it, and the old ones go on."""
        reloading = asyncio.create_task(self.reload())
        await asyncio.sleep(self._random.random())
        await self.kill()
        with contextlib.suppress(AssertionError):
            await reloading

    # what clients do

    async def _do(self, fault: Callable[[], Awaitable[None]]) -> None:
        async with asyncio.timeout(2 * PATIENCE):
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ConnectionClosed):
                await fault()
        self.done[fault.__name__] += 1

    async def _dial(self, small: bool = False) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = socket.socket()
        sock.setblocking(False)
        if small:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.server.port))
        return await asyncio.open_connection(sock=sock, limit=1 << 16)

    async def _socket(
        self, path: str = "/ws", small: bool = False
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """An open WebSocket, by hand."""
        reader, writer = await self._dial(small)
        writer.write(_handshake(path))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        if b" 101 " not in head.split(b"\r\n")[0]:
            writer.close()
            raise ConnectionError(head.decode(errors="replace"))
        return reader, writer

    async def stalled_reader(self) -> None:
        """Joins a channel, asks for answers too, and reads nothing."""
        _, writer = await self._socket("/ws?listen=1", small=True)
        transport = writer.transport
        transport.pause_reading()  # type: ignore[attr-defined]
        async with httpx.AsyncClient(timeout=1.5 * PATIENCE) as client:
            for _ in range(3):
                await client.post(self.server.url + "/publish?times=16", content="p" * 60_000)
                for _ in range(self._random.randrange(20)):
                    writer.write(_frame(0x81, b'{"type": "big"}'))
        if self._random.random() < 0.5:
            transport.abort()
            return
        transport.resume_reading()  # type: ignore[attr-defined]
        writer.close()

    async def flood(self) -> None:
        """Sends much faster than the app handles; each message is answered, or refused."""
        count = self._random.randrange(50, 400)
        reader, writer = await self._socket()
        writer.write(b"".join(_frame(0x81, b'{"type": "count", "id": 7}') for _ in range(count)))
        seen = b""
        while (answers := seen.count(b'"id":7')) < count:
            data = await asyncio.wait_for(reader.read(1 << 16), PATIENCE)
            if not data:
                break
            seen += data
        writer.close()
        # it answers no pings either: on a machine that is slow enough it is taken for one that is gone
        assert answers == count or b"no answer to a ping" in seen, f"{answers} answers of {count}"

    async def malformed_frames(self) -> None:
        reader, writer = await self._socket()
        noise = self._random.randbytes(self._random.randrange(1, 300))
        bad = [
            b"\x81\x05hello", _frame(0xC1, b"x"), _frame(0x83, b"x"), _frame(0x89, b"x" * 126), _frame(0x09, b"x"),
            _frame(0x81, b"\xff\xfe"), _frame(0x88, b"\x03"), _frame(0x88, struct.pack("!H", 1005)),
            b"\x81\xff" + struct.pack("!Q", 1 << 40) + b"mask", _frame(0x80, b"x"), _frame(0x01, b"a") * 2, noise,
        ]  # fmt: skip
        writer.write(self._random.choice(bad))
        writer.write_eof()
        await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()

    async def malformed_request(self) -> None:
        reader, writer = await self._dial()
        bad = [
            b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"\x00\x01\x02\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 100_000 + b"\r\n\r\n", self._random.randbytes(200),
            b"POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ]  # fmt: skip
        writer.write(self._random.choice(bad))
        writer.write_eof()
        await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()

    async def half_open(self) -> None:
        """Says nothing more, and answers no ping: the gateway has to find out."""
        _, writer = await self._socket()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(self._random.uniform(7, 9))
        writer.transport.abort()

    async def reset(self) -> None:
        """Goes with a reset in the middle of its messages."""
        _, writer = await self._socket("/ws?listen=1")
        writer.write(_frame(0x81, b'{"type": "count"}') * 20 + _frame(0x81, b'{"type": "big"}')[:10])
        await writer.drain()
        _linger(writer)

    async def handshake_cut(self) -> None:
        _, writer = await self._dial()
        writer.write(_handshake("/ws")[: self._random.randrange(20, 200)])
        await writer.drain()
        _linger(writer)

    async def upload_cut(self) -> None:
        """Half of a body that goes to the disk, or all of it and no wait for the answer."""
        _, writer = await self._dial()
        writer.write(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 600000\r\n\r\n")
        writer.write(b"u" * self._random.choice([300_000, 600_000]))
        await asyncio.wait_for(writer.drain(), PATIENCE)
        _linger(writer)

    async def download_cut(self) -> None:
        reader, writer = await self._dial(small=True)
        writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(reader.read(1000), PATIENCE)
        _linger(writer)

    async def session_again(self) -> None:
        name = f"/ws?headgate-session=storm-session-{self._random.randrange(3):06d}"
        _, first = await self._socket(name)
        _, second = await self._socket(name)
        second.close()
        first.transport.abort()

    async def failing(self) -> None:
        reader, writer = await self._socket()
        writer.write(_frame(0x81, b'{"type": "fail"}') * 3 + _frame(0x81, b"no json") + _frame(0x82, b"binary"))
        await asyncio.wait_for(reader.readuntil(b"error"), PATIENCE)
        writer.close()

    async def loop_cut(self) -> None:
        _, writer = await self._socket("/loop", small=True)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(_frame(0x81, b"x" * 30_000) * 60)
        await asyncio.sleep(self._random.random())
        writer.transport.abort()

    async def slow_head(self) -> None:
        reader, writer = await self._dial()
        writer.write(b"GET / HTTP/1.1\r\nHost:")
        await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()


def _handshake(path: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def _frame(first: int, payload: bytes) -> bytes:
    """A masked frame; the mask of zeros leaves the payload as it is."""
    size = len(payload)
    length = struct.pack("!B", 0x80 | size) if size < 126 else struct.pack("!BH", 0xFE, size)
    return bytes((first,)) + length + bytes(4) + payload


def _linger(writer: asyncio.StreamWriter) -> None:
    """Close with a reset."""
    sock = writer.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
