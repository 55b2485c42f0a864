"""The clients of the Socket.IO benchmark: many raw WebSockets that are in one room. A process of its own.

Reads orders, one a line: `open N`, `expect N` (messages for each), and answers each with a line of JSON.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import sys
import time
from typing import cast

import uvloop

STAMP = re.compile(rb'"at":\s?([0-9.]+)')
SAMPLED = 20
"""Of so many clients one reads the stamps of what it gets."""


class Member(asyncio.Protocol):
    """One client; its first message joins the default namespace."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self.crowd = crowd
        self.sampled = number % SAMPLED == 0
        self.count = 0
        self.joined = False
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1",
            f"Host: {self.crowd.host}:{self.crowd.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            "",
            "",
        ]
        transport.write("\r\n".join(lines).encode())

    def data_received(self, data: bytes) -> None:
        now = time.time()
        data = self.rest + data
        if not self.joined:
            if b'"sid"' in data and b'{"sid"' in data and b'0{"sid"' in data:
                if b'40{"sid"' in data:
                    self.joined = True
                    self.crowd.ready()
                elif not getattr(self, "asked", False):
                    self.asked = True
                    self.transport.write(_masked(b"40"))
                    data = b""
            self.rest = b"" if self.joined else data
            return
        got = data.count(b'["said"')
        self.rest = data[-12:] if b"[" in data[-12:] and not data.endswith(b"]") else b""
        if self.rest.count(b'["said"'):
            self.rest = b""
        if got:
            self.count += got
            if self.sampled:
                self.crowd.latencies += [now - float(at) for at in STAMP.findall(data)]
            self.crowd.received(got)

    def connection_lost(self, exc: Exception | None) -> None:
        self.crowd.lost += 1


class Crowd:
    """All clients.

    Args:
        host, port: of the server.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.members: list[Member] = []
        self.joined = self.got = self.wanted = self.lost = 0
        self.latencies: list[float] = []
        self.all_joined = asyncio.Event()
        self.done = asyncio.Event()
        self.finished = 0.0

    def ready(self) -> None:
        self.joined += 1
        if self.joined == len(self.members):
            self.all_joined.set()

    def received(self, count: int) -> None:
        self.got += count
        if self.got >= self.wanted:
            self.finished = time.time()
            self.done.set()

    async def open(self, count: int) -> None:
        """Connect, a hundred at a time, from as many addresses as there are networks of 127.0.0.0/8 to choose."""
        loop = asyncio.get_running_loop()
        for start in range(0, count, 100):
            self.all_joined.clear()
            for number in range(start, min(start + 100, count)):
                member = Member(self, number)
                self.members.append(member)
                source = (f"127.0.{number % 250}.1", 0)
                await loop.create_connection(lambda made=member: made, self.host, self.port, local_addr=source)  # type: ignore[misc]
            await asyncio.wait_for(self.all_joined.wait(), 60)

    def expect(self, each: int) -> None:
        self.got, self.latencies = 0, []
        self.wanted = each * len(self.members)
        self.done.clear()

    async def settled(self, seconds: float) -> dict[str, float]:
        """What came, within so many seconds."""
        try:
            await asyncio.wait_for(self.done.wait(), seconds)
        except TimeoutError:
            self.finished = time.time()
        times = sorted(self.latencies) or [float("nan")]
        return {
            "share": self.got / max(1, self.wanted),
            "finished": self.finished,
            "p50": times[len(times) // 2],
            "p99": times[min(len(times) - 1, int(len(times) * 0.99))],
            "lost": float(self.lost),
        }


def _masked(payload: bytes) -> bytes:
    return bytes([0x81, 0x80 | len(payload)]) + bytes(4) + payload


async def main(host: str, port: int) -> None:
    crowd = Crowd(host, port)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().split():
        told: dict[str, float] = {}
        if line[0] == "open":
            await crowd.open(int(line[1]))
        elif line[0] == "expect":
            crowd.expect(int(line[1]))
        elif line[0] == "settle":
            told = await crowd.settled(float(line[1]))
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
