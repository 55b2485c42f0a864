"""What is refused of a request's head although the parser takes it, and why. Pure.

Wherever two servers in a row could read one request differently, a second request can be smuggled past the first of
them. So what RFC 9112 leaves to a server's leniency is refused here, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from headgate.gateway.pages import Page, page

Header = tuple[bytes, bytes]

_HOST_SHAPE: Final = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]*")
_ABSOLUTE: Final = re.compile(rb"(?i)(https?)://([^/?#]*)(.*)", re.DOTALL)
_DEFAULT_PORT: Final = {b"http": b":80", b"https": b":443"}


class Limits(msgspec.Struct, frozen=True):
    """The bounds of a request's head.

    Args:
        target: bytes of the request's target.
        head: bytes of all headers.
        headers: how many of them.
    """

    target: int = 16 * 1024
    head: int = 64 * 1024
    headers: int = 200


def too_long(limits: Limits) -> Page:
    """The answer to a target over the bound."""
    return page(
        414,
        "target_too_long",
        f"The request's target is longer than {limits.target} bytes, the setting max_target. Send less in the URL.",
    )


def too_large(limits: Limits) -> Page:
    """The answer to headers over the bounds."""
    return page(
        431,
        "headers_too_large",
        f"The headers are more than {limits.head} bytes (max_head) or {limits.headers} lines (max_headers). "
        "Send fewer (cookies?).",
    )


def refusal(method: bytes, target: bytes, version: str, headers: Sequence[Header], *, handshake: bool) -> Page | None:
    """The answer to a head that is not let in; None for all others.

    Args:
        target: as it was sent.
        version: `1.1` or `1.0`; llhttp lets `0.9` and `2.0` through too.
        handshake: whether it asks for a WebSocket.
    """
    if version not in ("1.1", "1.0"):
        return _VERSION
    if method == b"CONNECT":
        return _NO_CONNECT
    hosts, coded = [], False
    for name, value in headers:
        if name == b"host":
            hosts.append(value)
        elif name == b"transfer-encoding":
            coded = True
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        return _HOST
    if hosts and not _HOST_SHAPE.fullmatch(hosts[0]):
        return _HOST
    if coded and version == "1.0":
        return _OLD_CODING
    if handshake and has_body(headers):
        return _HANDSHAKE_BODY
    if target.startswith(b"/"):
        return _FRAGMENT if b"#" in target else None
    return _judge_absolute(target, hosts[0] if hosts else None)


def origin_form(target: bytes) -> bytes:
    """The path and query of an absolute target (RFC 9112 §3.2.2); any other as it is."""
    if target.startswith(b"/"):
        return target
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        return target
    rest = match[3]
    return rest if rest.startswith(b"/") else b"/" + rest


def has_body(headers: Sequence[Header]) -> bool:
    """Whether a body follows this head (RFC 9112 §6.3)."""
    return any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers)


def without_upgrade(method: bytes, target: bytes, version: str, headers: Sequence[Header]) -> bytes:
    """The same head without its wish to go on in another protocol."""
    lines = [b"%s %s HTTP/%s" % (method, target, version.encode())]
    for name, value in headers:
        if name == b"connection":
            value = b", ".join(part for part in map(bytes.strip, value.split(b",")) if part.lower() != b"upgrade")
        if name != b"upgrade":
            lines.append(b"%s: %s" % (name, value))
    return b"\r\n".join([*lines, b"", b""])


def _judge_absolute(target: bytes, host: bytes | None) -> Page | None:
    """A target with an authority of its own must mean the server that Host names."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        return _TARGET
    scheme, authority, rest = match[1].lower(), match[2].lower(), match[3]
    if not authority or not _HOST_SHAPE.fullmatch(authority):
        return _TARGET
    if b"#" in rest:
        return _FRAGMENT
    port = _DEFAULT_PORT[scheme]
    if host is not None and host.lower().removesuffix(port) != authority.removesuffix(port):
        return _AUTHORITY
    return None


_VERSION: Final = page(505, "http_version", "This server speaks HTTP/1.1 (and 1.0). HTTP/2 is the proxy's part: nginx.")
_NO_CONNECT: Final = page(405, "method_not_allowed", "CONNECT is for proxies, and this is none.")
_HOST: Final = page(400, "bad_host", "A request needs exactly one valid Host header. Check the client or the proxy.")
_AUTHORITY: Final = page(
    400, "bad_host", "The request's target names another host than its Host header. Check the client or the proxy."
)
_TARGET: Final = page(
    400, "malformed", "The request's target must be a path that begins with /, or a whole http:// or https:// URL."
)
_FRAGMENT: Final = page(400, "malformed", "The request's target has a #fragment, which is the browser's to keep.")
_OLD_CODING: Final = page(
    400, "malformed", "Transfer-Encoding in an HTTP/1.0 request: its length could be read in two ways. Use HTTP/1.1."
)
_HANDSHAKE_BODY: Final = page(400, "malformed", "A WebSocket handshake has no body. Check the client or the proxy.")
