"""Echoes, as an app worker of a gateway (`link PATH`) or as a bare WebSocket server (`direct PORT`).

The bare one is the floor: the same client, the same two system calls per message at this end, and no gateway.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
import sys
from typing import Any

import uvloop

from headgate.link.messages import VERSION, Accept, Answer, Message, Open, WorkerHello
from headgate.link.session import worker_session
from headgate.link.transport import LinkTransport, dial

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def played(link: LinkTransport[Any, Any], message: Any) -> None:
    """An app worker's part, without an app."""
    if isinstance(message, Message):
        link.send(Answer(message.stream, message.handler, message.data, None, [], 0.0001))
    elif isinstance(message, Open):
        options = {"concurrent": False, "disconnect": False}
        link.send(Accept(message.stream, True, message.handler, None, [], {}, options, [], 0.0001))


async def behind(path: str) -> None:
    """Be the app workers of both lanes."""
    gone = asyncio.Event()
    for lane in ("fast", "slow"):
        link = await dial(path, worker_session(), played, lambda *_: gone.set())
        link.send(WorkerHello(VERSION, f"played-{lane}", 1, lane, 1, 1000, "wsgi", [("ws /ws", "/ws")], {}))
    await gone.wait()


class Bare(asyncio.Protocol):
    """Answers every frame with its payload; knows short frames only."""

    def __init__(self) -> None:
        self._buffer = b""
        self._open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._open:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            self._open, self._buffer = True, rest
            lines = (line.partition(b": ") for line in head.split(b"\r\n"))
            key = next(value for name, _, value in lines if name.lower() == b"sec-websocket-key")
            accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
            self._transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
        while len(self._buffer) >= 2 and len(self._buffer) >= (size := 6 + (self._buffer[1] & 0x7F)):
            frame, self._buffer = self._buffer[:size], self._buffer[size:]
            self._transport.write(struct.pack("!BB", frame[0], size - 6) + frame[6:])


async def bare(port: int) -> None:
    loop = asyncio.get_running_loop()
    await (await loop.create_server(Bare, "127.0.0.1", port)).serve_forever()


def main() -> None:
    kind, where = sys.argv[1:]
    uvloop.run(behind(where) if kind == "link" else bare(int(where)))


if __name__ == "__main__":
    main()
