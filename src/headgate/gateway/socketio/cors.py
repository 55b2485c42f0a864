"""Which pages may talk to the app's Socket.IO server, as the app configured it (python-engineio's rules). Pure."""

from __future__ import annotations

from collections.abc import Iterable

from headgate.link.socketio import SioServer

Header = tuple[bytes, bytes]


def header(headers: Iterable[Header], name: bytes) -> bytes:
    return next((value for key, value in headers if key == name), b"")


def allows(server: SioServer, headers: list[Header]) -> bool:
    """Whether the page that a request comes from may; programs that are no browsers name none, and may."""
    origin = header(headers, b"origin").decode("latin-1")
    if not origin or not server.cors or server.origins is None or origin in server.origins:
        return True
    if not server.same_origin:
        return False
    page = origin.partition("://")[2]
    hosts = (header(headers, b"host"), header(headers, b"x-forwarded-host").split(b",")[0].strip())
    return page in [host.decode("latin-1") for host in hosts if host]


def answer(server: SioServer, method: str, headers: list[Header]) -> list[Header]:
    """The headers by which a browser lets the page see the response."""
    if not server.cors:
        return []
    told: list[Header] = []
    if origin := header(headers, b"origin"):
        told += [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]
    if method == "OPTIONS":
        told.append((b"access-control-allow-methods", b"OPTIONS, GET, POST"))
    if wanted := header(headers, b"access-control-request-headers"):
        told.append((b"access-control-allow-headers", wanted))
    if server.credentials:
        told.append((b"access-control-allow-credentials", b"true"))
    return told
