"""What a request or handshake said, as the link carries it."""

from __future__ import annotations

import msgspec


class Scope(msgspec.Struct, frozen=True, array_like=True):
    """What a request or handshake said: ASGI names (asgiref HTTP and WebSocket spec), headers in order, lower-case."""

    method: str
    path: str
    """Percent-decoded, as ASGI `path`."""
    raw_path: bytes
    query: bytes
    http_version: str
    scheme: str
    headers: list[tuple[bytes, bytes]]
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    root_path: str
    request_id: str
    subprotocols: list[str] = []
