"""Sends messages at a steady rate over some sockets and times their echoes.

`python -m bench.latency.client PORT PATH TEXT RATE SECONDS SOCKETS` prints p50, p99 and p99.9 in seconds, as JSON.
Messages go by the clock, whether or not the ones before are answered (an open model), and each is timed from its
write: a loop's timers are a millisecond off, which is half of what is to be measured.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import time
from collections import deque
from typing import Any

import uvloop

SHARES = (50, 99, 99.9)
WARM_UP = 2.0
"""Seconds whose messages are not counted: lanes are learned, caches filled."""


class Client(asyncio.Protocol):
    """One socket; echoes come in the order of the messages."""

    def __init__(self, path: str, times: list[float]) -> None:
        self.opened = asyncio.get_running_loop().create_future()
        self._path = path
        self._times = times
        self._sent: deque[float] = deque()
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(  # type: ignore[attr-defined]
            f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def send(self, frame: bytes) -> None:
        self._sent.append(time.perf_counter())
        self._transport.write(frame)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self._buffer += data
        if not self.opened.done():
            head, end, self._buffer = self._buffer.partition(b"\r\n\r\n")
            if not end:
                self._buffer = head
                return
            if b" 101 " not in head.split(b"\r\n")[0]:
                raise ConnectionError(head.decode(errors="replace"))
            self.opened.set_result(None)
        while len(self._buffer) >= 2 and len(self._buffer) >= (size := 2 + (self._buffer[1] & 0x7F)):
            kind, self._buffer = self._buffer[0] & 0x0F, self._buffer[size:]
            if kind in (1, 2):
                self._times.append(now - self._sent.popleft())


async def run(port: int, path: str, text: str, rate: float, seconds: float, sockets: int) -> list[float]:
    """The times of all echoes after the warm-up."""
    loop = asyncio.get_running_loop()
    times: list[float] = []
    clients = []
    for _ in range(sockets):
        _, client = await loop.create_connection(lambda: Client(path, times), "127.0.0.1", port)
        await client.opened
        clients.append(client)
    payload = text.encode()
    frame = bytes((0x81, 0x80 | len(payload), 0, 0, 0, 0)) + payload  # the mask of zeros leaves it as it is
    for span in (WARM_UP, seconds):
        times.clear()
        count, start = round(rate * span), loop.time() + 0.01
        for number in range(count):
            loop.call_at(start + number / rate, clients[number % sockets].send, frame)
        async with asyncio.timeout(span + 30):
            while len(times) < count:  # noqa: ASYNC110 - a timer here would be one more on the measured loop
                await asyncio.sleep(0.25)
    return times


def main() -> None:
    port, path, text, rate, seconds, sockets = sys.argv[1:]
    times = sorted(uvloop.run(run(int(port), path, text, float(rate), float(seconds), int(sockets))))
    print(json.dumps({f"p{share:g}": times[min(len(times) - 1, int(len(times) * share / 100))] for share in SHARES}))


if __name__ == "__main__":
    main()
