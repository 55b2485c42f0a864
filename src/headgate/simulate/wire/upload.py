"""A slow upload: an HTTP POST whose body drips, as a phone on a bad network sends it (or a slowloris)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final
from urllib.parse import urlsplit

from headgate.simulate.errors import TargetError
from headgate.simulate.wire.source import SourceAddresses

DRIP: Final = 0.1


async def slow_upload(target: str, path: str, size: int, seconds: float) -> str:
    """Send `size` bytes over `seconds`, and say how it ended.

    Returns:
        the status class (`2xx`, `4xx` …), `closed` when the server gave up on it, `refused` when it
        could not be connected, or `unanswered`.
    """
    parts = urlsplit(target)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    try:
        sock = await SourceAddresses().connect(host, port, 5.0)
    except TargetError:
        return "refused"
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {size}\r\n"
        writer.write((head + "Content-Type: application/octet-stream\r\n\r\n").encode())
        await _drip(reader, writer, size, seconds)
        async with asyncio.timeout(10):
            line = await reader.readline()
        return f"{line.split()[1][:1].decode()}xx" if line.startswith(b"HTTP/") else "closed"
    except TimeoutError:
        return "unanswered"
    except OSError:
        return "closed"
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int, seconds: float) -> None:
    began, sent = time.monotonic(), 0
    while sent < size and not reader.at_eof():
        share = min((time.monotonic() - began) / max(seconds, 0.001), 1.0)
        piece = max(int(size * share) - sent, 1)
        writer.write(b"x" * min(piece, size - sent))
        sent += piece
        await writer.drain()
        await asyncio.sleep(DRIP)
