"""The PROXY protocol, versions 1 and 2: what a proxy that passes bytes on says of the client before the first of them.

After HAProxy's "The PROXY protocol, versions 1 & 2" (sections 2.1 and 2.2). Pure: bytes in, endpoints out.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Final

from headgate.base.errors import HeadgateError

Endpoint = tuple[str, int]

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
LONGEST_LINE: Final = 107
"""Bytes of a version 1 header, its line end included."""
LONGEST_REST: Final = 4096
"""Bytes of a version 2 header after its fixed part that we take; addresses and what proxies add are some hundred."""
_HEAD: Final = struct.Struct("!12sBBH")
_TCP4: Final = struct.Struct("!4s4sHH")
_TCP6: Final = struct.Struct("!16s16sHH")
_UNIX: Final = 216
_CHECKSUM: Final = 0x03
_SSL: Final = 0x20


class BadProxyHeader(HeadgateError):
    """A connection that must begin with a PROXY header begins with something else."""


class Endpoints:
    """Who talks to whom, as a proxy in front tells it; None keeps the socket's own."""

    __slots__ = ("client", "secure", "server")

    def __init__(self, client: Endpoint | None = None, server: Endpoint | None = None, secure: bool = False) -> None:
        self.client = client
        self.server = server
        self.secure = secure
        """The client speaks TLS with the proxy."""


def read(data: bytes) -> tuple[Endpoints, int] | None:
    """Read a header off the front of a connection.

    Args:
        data: all that has come so far.

    Returns:
        The endpoints and the header's length in bytes; None when more of it has to come.

    Raises:
        BadProxyHeader: this is none, or a damaged one.
    """
    if data[:12] == SIGNATURE[: len(data)]:
        return _binary(data) if len(data) >= _HEAD.size else None
    if data[:6] == b"PROXY "[: len(data)]:
        return _line(data)
    raise BadProxyHeader("it does not begin with a PROXY header")


def _line(data: bytes) -> tuple[Endpoints, int] | None:
    end = data.find(b"\r\n", 0, LONGEST_LINE)
    if end < 0:
        if len(data) >= LONGEST_LINE:
            raise BadProxyHeader("its PROXY line has no end")
        return None
    words = data[:end].split(b" ")
    if words[1:2] == [b"UNKNOWN"]:
        return Endpoints(), end + 2
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise BadProxyHeader("its PROXY line is malformed")
    version = 4 if words[1] == b"TCP4" else 6
    client, server = (_endpoint(words[at], words[at + 2], version) for at in (2, 3))
    return Endpoints(client, server), end + 2


def _endpoint(address: bytes, port: bytes, version: int) -> Endpoint:
    try:
        read = ipaddress.ip_address(address.decode("ascii"))
    except ValueError:
        raise BadProxyHeader("its PROXY line has an address that is none") from None
    if read.version != version or not port.isdigit() or len(port) > 5 or int(port) > 65535:
        raise BadProxyHeader("its PROXY line has an address or port that does not fit")
    return str(read), int(port)


def _binary(data: bytes) -> tuple[Endpoints, int] | None:
    _, command, family, size = _HEAD.unpack_from(data)
    if command >> 4 != 2 or command & 15 > 1:
        raise BadProxyHeader(f"its PROXY header has the version and command {command:#04x}, which there is not")
    if size > LONGEST_REST:
        raise BadProxyHeader(f"its PROXY header is {size} bytes long")
    whole = _HEAD.size + size
    if len(data) < whole:
        return None
    rest = data[_HEAD.size : whole]
    if command & 15 == 0:  # LOCAL: the proxy speaks for itself, a health check
        return Endpoints(), whole
    client, server, at = _addresses(family, rest)
    return Endpoints(client, server, _additions(data[:whole], _HEAD.size + at)), whole


def _addresses(family: int, rest: bytes) -> tuple[Endpoint | None, Endpoint | None, int]:
    """The two addresses, and where they end."""
    shape = {0x11: _TCP4, 0x21: _TCP6}.get(family)
    if shape is not None:
        if len(rest) < shape.size:
            raise BadProxyHeader("its PROXY header is too short for its addresses")
        source, target, source_port, target_port = shape.unpack_from(rest)
        client, server = str(ipaddress.ip_address(source)), str(ipaddress.ip_address(target))
        return (client, source_port), (server, target_port), shape.size
    if family == 0x31:  # the client came to the proxy over a Unix socket: it has no address
        if len(rest) < _UNIX:
            raise BadProxyHeader("its PROXY header is too short for its addresses")
        return ("", 0), None, _UNIX
    if family == 0x00:
        return None, None, len(rest)
    raise BadProxyHeader(f"its PROXY header is of family {family:#04x}, and no stream")


def _additions(header: bytes, at: int) -> bool:
    """Walk the additional fields; whether one says that the client speaks TLS."""
    secure = False
    while at < len(header):
        if at + 3 > len(header):
            raise BadProxyHeader("its PROXY header ends within a field")
        kind, size = header[at], int.from_bytes(header[at + 1 : at + 3])
        value = header[at + 3 : at + 3 + size]
        if len(value) < size:
            raise BadProxyHeader("its PROXY header ends within a field")
        if kind == _CHECKSUM:
            blank = header[: at + 3] + bytes(size) + header[at + 3 + size :]
            if size != 4 or crc32c(blank) != int.from_bytes(value):
                raise BadProxyHeader("its PROXY header is damaged: the checksum does not fit")
        elif kind == _SSL and size:
            secure = bool(value[0] & 1)
        at += 3 + size
    return secure


def _table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC: Final = _table()


def crc32c(data: bytes) -> int:
    """The checksum of RFC 3720 (Castagnoli), which `zlib` has not."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
