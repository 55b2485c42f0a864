"""PROXY protocol headers, whole and broken."""

from __future__ import annotations

import socket
import struct

import pytest

from headgate.gateway.proxyproto import SIGNATURE, BadProxyHeader, crc32c, read

ADDRESSES = socket.inet_aton("198.51.100.7") + socket.inet_aton("192.0.2.1") + struct.pack("!HH", 4321, 443)
SIX = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::2")
    + struct.pack("!HH", 1, 2)
)


def v2(rest: bytes, *, command: int = 0x21, family: int = 0x11) -> bytes:
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(rest)) + rest


def field(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def checked(rest: bytes) -> bytes:
    blank = v2(rest + field(3, bytes(4)))
    return blank[:-4] + crc32c(blank).to_bytes(4)


TOLD = {
    "v1, IPv4": (b"PROXY TCP4 198.51.100.7 192.0.2.1 4321 443\r\n", ("198.51.100.7", 4321), ("192.0.2.1", 443)),
    "v1, IPv6": (b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n", ("2001:db8::1", 1), ("2001:db8::2", 2)),
    "v1, unknown": (b"PROXY UNKNOWN\r\n", None, None),
    "v1, unknown with more": (b"PROXY UNKNOWN ff:: ff:: 1 2\r\n", None, None),
    "v2, IPv4": (v2(ADDRESSES), ("198.51.100.7", 4321), ("192.0.2.1", 443)),
    "v2, IPv6": (v2(SIX, family=0x21), ("2001:db8::1", 1), ("2001:db8::2", 2)),
    "v2, local": (v2(b"", command=0x20, family=0), None, None),
    "v2, local with addresses": (v2(ADDRESSES, command=0x20), None, None),
    "v2, no family": (v2(b"abc", family=0), None, None),
    "v2, a Unix socket": (v2(bytes(216), family=0x31), ("", 0), None),
    "v2, other fields": (v2(ADDRESSES + field(4, b"x" * 9)), ("198.51.100.7", 4321), ("192.0.2.1", 443)),
    "v2, a checksum": (checked(ADDRESSES), ("198.51.100.7", 4321), ("192.0.2.1", 443)),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_is_told(name: str) -> None:
    header, client, server = TOLD[name]
    found = read(header + b"GET / HTTP/1.1\r\n")
    assert found is not None
    endpoints, used = found
    assert (endpoints.client, endpoints.server, used) == (client, server, len(header))


@pytest.mark.parametrize("name", TOLD)
def test_it_may_come_in_pieces(name: str) -> None:
    header = TOLD[name][0]
    assert [read(header[:size]) for size in range(len(header))] == [None] * len(header)


def test_whether_the_client_speaks_tls_with_the_proxy() -> None:
    for flags, secure in ((1, True), (0, False)):
        found = read(v2(ADDRESSES + field(0x20, bytes([flags]) + bytes(4))))
        assert found is not None
        assert found[0].secure is secure


BROKEN = {
    "HTTP": b"GET / HTTP/1.1\r\n",
    "TLS": b"\x16\x03\x01",
    "almost v1": b"PROXX",
    "almost v2": SIGNATURE[:11] + b"x",
    "an endless line": b"PROXY TCP4 " + b"1" * 200,
    "a word too few": b"PROXY TCP4 198.51.100.7 192.0.2.1 4321\r\n",
    "two spaces": b"PROXY TCP4  198.51.100.7 192.0.2.1 4321 443\r\n",
    "no protocol": b"PROXY UDP4 198.51.100.7 192.0.2.1 4321 443\r\n",
    "a name": b"PROXY TCP4 localhost 192.0.2.1 4321 443\r\n",
    "the other family": b"PROXY TCP4 ::1 192.0.2.1 4321 443\r\n",
    "a port too high": b"PROXY TCP4 198.51.100.7 192.0.2.1 70000 443\r\n",
    "a signed port": b"PROXY TCP4 198.51.100.7 192.0.2.1 +1 443\r\n",
    "another version": v2(ADDRESSES, command=0x31),
    "another command": v2(ADDRESSES, command=0x2F),
    "datagrams": v2(ADDRESSES, family=0x12),
    "short addresses": v2(ADDRESSES[:-1]),
    "a short Unix path": v2(bytes(10), family=0x31),
    "very long": SIGNATURE + b"\x21\x11\xff\xff",
    "a field without an end": v2(ADDRESSES + b"\x04\x00"),
    "a field that is too short": v2(ADDRESSES + b"\x04\x00\x09abc"),
    "a checksum that does not fit": checked(ADDRESSES)[:-1] + b"\x00",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_refused(name: str) -> None:
    with pytest.raises(BadProxyHeader):
        read(BROKEN[name])


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283
