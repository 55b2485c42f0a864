"""A process that holds many followers and notes when each event reaches each of them.

`python -m bench.streams.readers PORT STREAM`, then a line per order on stdin:
`open N` follows with N sockets more (all must have the stream's first event), `idle N` with N whose bytes stay in the
kernel's buffers and are taken out once a second, untimed, so that they do not cost what clients elsewhere would pay;
`wait N` until N further events have come in all, `told` prints the arrivals since the last order as JSON. An event
carries the moment of its append by the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
import sys
import time
from typing import Final, cast

import uvloop

MARK: Final = b'"at":'
AT_ONCE: Final = 50


class Follower(asyncio.Protocol):
    """One socket: a handshake, one message, and then only arrivals."""

    def __init__(self, fleet: Fleet, *, idle: bool = False) -> None:
        self.fleet = fleet
        self._idle = idle
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            "GET /ws HTTP/1.1",
            f"Host: 127.0.0.1:{self.fleet.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        ]
        message = json.dumps({"stream": self.fleet.stream}).encode()
        frame = struct.pack("!BB", 0x81, 0x80 | len(message)) + bytes(4) + message  # masked with zeros
        wire = cast(asyncio.Transport, transport)
        wire.write("\r\n".join([*lines, "", ""]).encode())
        self._frame, self._wire = frame, wire

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if self._frame:
            self._wire.write(self._frame)
            self._frame = b""
        if self._idle and self.ready.done():
            self.fleet.count += data.count(MARK)
            self._wire.pause_reading()
            self.fleet.look()
            return
        data = self._rest + data
        *_, last = parts = data.split(MARK)
        self._rest = b"" if len(parts) == 1 or b"}" in last else MARK + last
        for part in parts[1 : len(parts) if not self._rest else -1]:
            self.fleet.arrivals.append(now - float(part[: part.index(b"}")]))
            self.fleet.count += 1
        if not self.ready.done() and len(parts) > 1:
            self.ready.set_result(None)
            if self._idle:
                self._wire.pause_reading()
        self.fleet.look()

    def drain(self) -> None:
        """Take out what the kernel holds."""
        self._wire.resume_reading()


class Fleet:
    """All followers of this process."""

    def __init__(self, port: int, stream: str) -> None:
        self.port = port
        self.stream = stream
        self.arrivals: list[float] = []
        self.count = 0
        self.wanted = 1 << 60
        self.enough = asyncio.Event()
        self._idle: list[Follower] = []

    def look(self) -> None:
        if self.count >= self.wanted:
            self.enough.set()

    async def drain(self) -> None:
        """Each idle socket once a second, a few at a time."""
        while True:
            for at, follower in enumerate(self._idle, 1):
                follower.drain()
                if at % max(1, len(self._idle) // 100) == 0:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.01)

    async def open(self, number: int, *, idle: bool = False) -> None:
        loop, room = asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)

        async def one() -> None:
            async with room:
                _, follower = await loop.create_connection(lambda: Follower(self, idle=idle), "127.0.0.1", self.port)
                await asyncio.wait_for(follower.ready, 60)
                if idle:
                    self._idle.append(follower)

        await asyncio.gather(*(one() for _ in range(number)))

    async def wait(self, number: int) -> None:
        self.wanted = number
        if self.count < number:
            await asyncio.wait_for(self.enough.wait(), 120)
        self.enough.clear()
        self.wanted = 1 << 60

    def told(self) -> str:
        arrivals, self.arrivals, self.count = sorted(self.arrivals), [], 0
        if not arrivals:
            return json.dumps({"count": 0})
        p50, p99 = (arrivals[min(len(arrivals) - 1, int(len(arrivals) * part))] for part in (0.5, 0.99))
        return json.dumps({"count": len(arrivals), "p50": p50, "p99": p99, "worst": arrivals[-1]})


async def main(port: int, stream: str) -> None:
    """Serve orders until stdin ends."""
    fleet, loop = Fleet(port, stream), asyncio.get_running_loop()
    draining = loop.create_task(fleet.drain())
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        word, *rest = line.split()
        said = "done"
        if word in ("open", "idle"):
            await fleet.open(int(rest[0]), idle=word == "idle")
        elif word == "wait":
            await fleet.wait(int(rest[0]))
        else:
            said = fleet.told()
        print(said, flush=True)
    draining.cancel()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
