"""What a request's headers say to a gateway, and which of them an app gets to see. Pure.

Dropped on the way in: hop-by-hop headers (RFC 9110 §7.6.1), names with an underscore (in WSGI they would pass for
others), and, from peers that are not trusted proxies, everything that claims to speak for a proxy. On the way
out: hop-by-hop headers again.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

Header = tuple[bytes, bytes]

HOP_BY_HOP: Final = frozenset(
    [
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ]
)
_FORWARDED: Final = frozenset(
    [
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-ssl",
        b"x-forwarded-scheme",
        b"x-real-ip",
    ]
)
_PASSED: Final = frozenset([b"content-length", b"traceparent"])
_SPECIAL: Final = HOP_BY_HOP | _FORWARDED | _PASSED | frozenset([b"x-request-id", b"expect"])
_SCHEMES: Final = ("http", "https", "ws", "wss")
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_REMEMBERED: Final = 4096


class Head:
    """One request's headers, read once."""

    __slots__ = ("chunked", "client", "headers", "length", "request_id", "scheme", "traceparent")

    def __init__(self, client: tuple[str, int] | None, scheme: str) -> None:
        self.headers: list[Header] = []
        """What the app sees."""
        self.client = client
        self.scheme = scheme
        self.length = 0
        self.chunked = False
        self.request_id = ""
        self.traceparent = b""


class Trust:
    """The peers whose word about the client counts.

    Args:
        proxies: addresses, networks (CIDR), `unix` for any peer on a Unix socket, `*` for everybody.
    """

    def __init__(self, proxies: Iterable[str]) -> None:
        names = set(proxies)
        self._all = "*" in names
        self._unix = "unix" in names or self._all
        self._networks = [ipaddress.ip_network(name, strict=False) for name in names - {"*", "unix"}]
        self._answers: dict[str, bool] = {}

    def trusts(self, peer: str | None) -> bool:
        """Whether the peer at this address (None: a Unix socket) is a trusted proxy."""
        if peer is None:
            return self._unix
        known = self._answers.get(peer)
        if known is None:
            known = self._look(peer)
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            self._answers[peer] = known
        return known

    def _look(self, peer: str) -> bool:
        if self._all:
            return True
        try:
            address = ipaddress.ip_address(peer.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None) or address
        return any(mapped.version == network.version and mapped in network for network in self._networks)


class BadHead(Exception):
    """The headers contradict themselves; the request is refused."""


def read(headers: Iterable[Header], peer: tuple[str, int] | None, scheme: str, trust: Trust) -> Head:
    """Read a request's headers.

    Raises:
        BadHead: two different lengths, or a length beside a transfer coding (RFC 9112 §6.3).
    """
    head = Head(peer, scheme)
    kept = head.headers
    special: list[Header] | None = None
    for pair in headers:
        name = pair[0]
        if name in _SPECIAL:
            if special is None:
                special = [pair]
            else:
                special.append(pair)
        elif b"_" not in name:
            kept.append(pair)
    if special is not None:
        _read_special(head, special, trust, peer[0] if peer is not None else None)
    return head


def _read_special(head: Head, special: list[Header], trust: Trust, peer: str | None) -> None:
    trusted = trust.trusts(peer)
    said: dict[bytes, list[bytes]] = {}
    for name, value in special:
        said.setdefault(name, []).append(value)
        if name in _PASSED or (trusted and name in _FORWARDED):
            head.headers.append((name, value))
    head.chunked = b"transfer-encoding" in said
    if b"content-length" in said:
        head.length = _length(said[b"content-length"], head.chunked)
    if b"traceparent" in said:
        head.traceparent = said[b"traceparent"][0]
    if trusted:
        _believe(head, said, trust)
    if b"connection" in said:
        _drop_nominated(head, said[b"connection"])


def _believe(head: Head, said: dict[bytes, list[bytes]], trust: Trust) -> None:
    """What a trusted proxy says of the client, the scheme and the request."""
    asked = said.get(b"x-request-id", [b""])[0]
    if _REQUEST_ID.fullmatch(asked):
        head.request_id = asked.decode("ascii")
    for name in (b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"):
        if name in said:
            _forward(head, name, b",".join(said[name]).decode("latin-1").split(","), trust)


def _drop_nominated(head: Head, connection: list[bytes]) -> None:
    """Remove what Connection names as meant for this hop only."""
    if connection[0].lower() in (b"keep-alive", b"close", b"upgrade") and len(connection) == 1:
        return
    names = {part.strip().lower() for part in b",".join(connection).split(b",")} - _ALWAYS
    head.headers = [pair for pair in head.headers if pair[0] not in names]


_ALWAYS: Final = frozenset([b"", b"host", b"content-length", b"content-type", b"authorization", b"cookie"])
"""Headers that Connection must not be able to remove (a smuggling trick against what stands behind)."""


def _length(values: list[bytes], chunked: bool) -> int:
    value = values[0]
    if chunked:
        raise BadHead("both Content-Length and Transfer-Encoding")
    if any(other != value for other in values):
        raise BadHead("two different Content-Length headers")
    if not value.isdigit() or len(value) > 18:
        raise BadHead("a Content-Length that is no number")
    return int(value)


def _forward(head: Head, name: bytes, entries: list[str], trust: Trust) -> None:
    """Take client or scheme from a header of a trusted proxy."""
    last = entries[-1].strip().lower()
    if name == b"x-forwarded-proto":
        if last in _SCHEMES:
            head.scheme = _scheme(head.scheme, last)
        return
    if name == b"forwarded":
        proto = _pairs(entries[-1]).get("proto", "").lower()
        if proto in _SCHEMES:
            head.scheme = _scheme(head.scheme, proto)
        entries = [_pairs(entry).get("for", "") for entry in entries]
    client = _nearest_stranger(entries, trust)
    if client is not None:
        head.client = (client, 0)


def _nearest_stranger(entries: list[str], trust: Trust) -> str | None:
    """The client's address among those that the proxies have added one after the other.

    Each proxy tells the peer that it saw: the last entry is certain, and the one before it if the last is itself a
    trusted proxy, and so on. Whatever lies before the first stranger may be made up.
    """
    found = None
    for entry in reversed(entries):
        address = _address(entry)
        if address is None:
            break
        found = address
        if not trust.trusts(address):
            break
    return found


def _pairs(element: str) -> dict[str, str]:
    """One element of `Forwarded` (RFC 7239 §4)."""
    pairs = (part.partition("=") for part in element.split(";"))
    return {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}


def _scheme(ours: str, said: str) -> str:
    """The proxy speaks of http and https; a handshake keeps ws or wss."""
    secure = said in ("https", "wss")
    if ours in ("ws", "wss"):
        return "wss" if secure else "ws"
    return "https" if secure else "http"


def _address(text: str) -> str | None:
    """The IP address of a forwarded element, its port left out; None for `unknown` and made-up names."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def outgoing(headers: list[Header]) -> list[Header]:
    """A response's headers without those that are for one hop only."""
    for name, _ in headers:
        if name in HOP_BY_HOP:
            return [pair for pair in headers if pair[0] not in HOP_BY_HOP]
    return headers
