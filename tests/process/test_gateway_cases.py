"""What a WebSocket endpoint must do with each kind of frame: a part of the cases of Autobahn's suite, by its numbers.

All of them, in Autobahn's own words, are run by `tests/compat/soak_autobahn.py`. A row is what the client sends after
its handshake, and what must come back: frames, and the close code with which the server ends the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator

import pytest

from headgate.gateway.frames import frame
from tests.process.gateway_rig import Rig, quick, until

pytestmark = pytest.mark.anyio

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
FIN, TEXT, BINARY, CLOSE, PING, PONG = 0x80, 1, 2, 8, 9, 10
MASK = b"\x37\xfa\x21\x3d"


def sent(first: int, payload: bytes = b"") -> bytes:
    """A client's frame."""
    head = bytearray(frame(first, payload)[: 2 if len(payload) < 126 else 4 if len(payload) < 65536 else 10])
    head[1] |= 0x80
    return bytes(head) + MASK + bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload))


def text(payload: bytes) -> bytes:
    return sent(FIN | TEXT, payload)


def close(code: int, reason: bytes = b"") -> bytes:
    return sent(FIN | CLOSE, struct.pack("!H", code) + reason)


def ends(code: int) -> list[tuple[int, bytes]]:
    return [(FIN | CLOSE, struct.pack("!H", code))]


HELLO = "Hello-µ@ßöäüàá-UTF-8!!".encode()
CLOSING = close(1000)
BYE = ends(1000)
ECHO = [(FIN | TEXT, b"x")]
Frames = list[tuple[int, bytes]]
CASES: dict[str, tuple[bytes, Frames]] = {
    # 1: sizes
    **{
        f"1.1 {size}": (text(b"*" * size) + CLOSING, [(0x81, b"*" * size), *BYE])
        for size in (0, 125, 126, 127, 65535, 65536)
    },
    **{
        f"1.2 {size}": (sent(0x82, b"\xfe" * size) + CLOSING, [(0x82, b"\xfe" * size), *BYE])
        for size in (0, 126, 65536)
    },
    # 2: pings and pongs
    "2.1": (sent(FIN | PING) + CLOSING, [(FIN | PONG, b""), *BYE]),
    "2.4": (sent(FIN | PING, b"\xfe" * 125) + CLOSING, [(FIN | PONG, b"\xfe" * 125), *BYE]),
    "2.5 a ping too long": (sent(FIN | PING, b"\xfe" * 126), ends(1002)),
    "2.7 a pong that nobody asked for": (sent(FIN | PONG) + CLOSING, BYE),
    "2.10 ten pings": (sent(FIN | PING, b"p") * 10 + CLOSING, [(FIN | PONG, b"p")] * 10 + BYE),
    # 3: reserved bits
    **{f"3.{bit} reserved bits": (sent(FIN | TEXT | bit << 4, b"x"), ends(1002)) for bit in range(1, 8)},
    "3 in a ping": (sent(FIN | PING | 0x40), ends(1002)),
    # 4: reserved opcodes
    **{f"4 opcode {code}": (sent(FIN | code, b"x"), ends(1002)) for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    # 5: fragments
    "5.1 a ping in fragments": (sent(PING, b"a") + sent(FIN, b"b"), ends(1002)),
    "5.2 a pong in fragments": (sent(PONG, b"a") + sent(FIN, b"b"), ends(1002)),
    "5.3": (sent(TEXT, b"a") + sent(FIN, b"b") + CLOSING, [(0x81, b"ab"), *BYE]),
    "5.6 a ping between": (
        sent(TEXT, b"a") + sent(FIN | PING, b"p") + sent(FIN, b"b") + CLOSING,
        [(FIN | PONG, b"p"), (0x81, b"ab"), *BYE],
    ),
    "5.9 a continuation of nothing": (sent(FIN, b"a") + text(b"b"), ends(1002)),
    "5.12 the same, not final": (sent(0, b"a") + text(b"b"), ends(1002)),
    "5.18 a second text within": (sent(TEXT, b"a") + text(b"b"), ends(1002)),
    "5.19 five fragments": (
        sent(TEXT, b"1") + sent(0, b"2") + sent(FIN | PING, b"p") + sent(0) + sent(0, b"4") + sent(FIN, b"5") + CLOSING,
        [(FIN | PONG, b"p"), (0x81, b"1245"), *BYE],
    ),
    # 6: UTF-8
    "6.1 empty fragments": (sent(TEXT) + sent(0) + sent(FIN) + CLOSING, [(0x81, b""), *BYE]),
    "6.2 split within a character": (
        sent(TEXT, HELLO[:7]) + sent(0, HELLO[7:8]) + sent(FIN, HELLO[8:]) + CLOSING,
        [(0x81, HELLO), *BYE],
    ),
    "6.3": (text(HELLO + b"\xed\xa0\x80"), ends(1007)),
    "6.4 found before the message is complete": (sent(TEXT, HELLO) + sent(0, b"\xf4\x90\x80\x80"), ends(1007)),
    "6.4 in the first fragment": (sent(TEXT, b"\xc0\xaf"), ends(1007)),
    "6.4 cut off at the end": (sent(TEXT, b"\xce") + sent(FIN), ends(1007)),
    **{
        f"6 {bad.hex()}": (text(bad), ends(1007))
        for bad in (
            b"\xce",
            b"\x80",
            b"\xc0\x80",
            b"\xe0\x80\xaf",
            b"\xf8\x88\x80\x80\x80",
            b"\xed\xbf\xbf",
            b"\xff",
            b"\xf4\x90\x80\x80",
        )
    },
    **{
        f"6 {good.hex()}": (text(good) + CLOSING, [(0x81, good), *BYE])
        for good in (b"\x00", b"\xc2\x80", b"\xed\x9f\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf", b"\xf0\x90\x80\x80")
    },
    # 7: closing
    "7.1.1": (text(b"x") + CLOSING, [*ECHO, *BYE]),
    "7.1.2 two closes": (CLOSING * 2, BYE),
    "7.1.3 a ping after it": (CLOSING + sent(FIN | PING), BYE),
    "7.1.4 a message after it": (CLOSING + text(b"x"), BYE),
    "7.1.5 within a fragmented message": (sent(TEXT, b"a") + CLOSING + sent(FIN, b"b"), BYE),
    "7.1.6 with no code within one": (sent(TEXT, b"a") + sent(FIN | CLOSE), [(FIN | CLOSE, b"")]),
    "7.3.1 no code": (sent(FIN | CLOSE), [(FIN | CLOSE, b"")]),
    "7.3.2 half a code": (sent(FIN | CLOSE, b"\x03"), ends(1002)),
    "7.3.4 a reason": (close(1000, b"Hello World!"), [(FIN | CLOSE, b"\x03\xe8Hello World!")]),
    "7.3.5 the longest": (close(1000, b"*" * 123), [(FIN | CLOSE, b"\x03\xe8" + b"*" * 123)]),
    "7.3.6 longer": (close(1000, b"*" * 124), ends(1002)),
    "7.5.1 a reason that is no UTF-8": (close(1000, b"\xce\xba\xed\xa0\x80"), ends(1007)),
    **{
        f"7.7 {code}": (close(code), ends(code))
        for code in (1000, 1001, 1002, 1003, 1007, 1011, 3000, 3999, 4000, 4999)
    },
    **{
        f"7.9 {code}": (close(code), ends(1002))
        for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    # not Autobahn's: a client must mask
    "- unmasked": (frame(FIN | TEXT, b"x"), ends(1002)),
    "- a length with the top bit": (b"\x81\xff" + b"\xff" * 8 + MASK, ends(1009)),
}


def frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The whole frames at the front of what came."""
    while len(data) > 1:
        size, at = data[1], 2
        assert size < 128, "a server does not mask"
        if size > 125:
            at = 4 if size == 126 else 10
            size = int.from_bytes(data[2:at])
        if len(data) < at + size:
            return
        yield data[0], data[at : at + size]
        data = data[at + size :]


async def told(rig: Rig, wire: bytes, first: int, pieces: int) -> Frames:
    """Everything that comes back until the server ends TCP.

    Args:
        first: frames to wait for before the close is sent: a server need not answer behind one.
        pieces: into which the bytes are cut.
    """
    loop = asyncio.get_running_loop()
    with socket.create_connection(("127.0.0.1", rig.port), timeout=10) as sock:
        sock.setblocking(False)
        await loop.sock_sendall(sock, HANDSHAKE)
        got = bytearray()
        while b"\r\n\r\n" not in got:
            got += await quick(loop.sock_recv(sock, 1000))
        del got[: got.index(b"\r\n\r\n") + 4]
        body = wire.removesuffix(CLOSING) if first else wire
        size = max(1, len(body) // pieces)
        with contextlib.suppress(ConnectionError):  # it may have ended already
            for at in range(0, len(body), size):
                await loop.sock_sendall(sock, body[at : at + size])
                await asyncio.sleep(0)
        while len(list(frames(bytes(got)))) < first:
            piece = await quick(loop.sock_recv(sock, 100_000))
            assert piece, "it ended before it had answered"
            got += piece
        with contextlib.suppress(ConnectionError):  # what is sent behind a close may be answered by a reset
            if first:
                await loop.sock_sendall(sock, CLOSING)
            while piece := await quick(loop.sock_recv(sock, 100_000)):
                got += piece
    return list(frames(bytes(got)))


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("section", "1234567-")
async def test_cases(section: str, pieces: int) -> None:
    async with Rig(ping_interval=0) as rig:
        await rig.worker()
        for name, (wire, wanted) in CASES.items():
            if name[0] != section:
                continue
            first = len(wanted) - 1 if wire.endswith(CLOSING) else 0
            try:
                got = await told(rig, wire, first, pieces)
            except (TimeoutError, OSError) as exc:
                pytest.fail(f"{name}: {exc!r}")
            if len(wanted[-1][1]) == 2 and got:  # the reason behind the code is free
                got[-1] = (got[-1][0], got[-1][1][:2])
            assert got == wanted, name
        await until(lambda: rig.gateway.app.connections == 0, "no connection is left over")
