"""WebSocket clients of a gateway under test."""

from __future__ import annotations

from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.process.gateway_rig import Rig, quick

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def client(rig: Rig, path: str = "/ws", **options: Any) -> connect:
    return connect(rig.ws_url + path, compression=None, ping_interval=None, max_size=None, **options)


async def receive(sock: ClientConnection) -> Any:
    return await quick(sock.recv())


async def close_code(sock: ClientConnection) -> int | None:
    await quick(sock.wait_closed())
    return sock.close_code
