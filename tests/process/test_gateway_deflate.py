"""permessage-deflate through a gateway: off unless asked, bounded, and one compression for many."""

from __future__ import annotations

import asyncio
import os
import zlib
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from headgate.gateway import codes, deflate
from headgate.gateway.wire import text_frame
from headgate.link.messages import Message
from tests.process.gateway_rig import Rig, quick, until

pytestmark = pytest.mark.anyio

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: %s\r\n\r\n"
)


def client(rig: Rig, **offer: Any) -> connect:
    return connect(
        rig.ws_url + "/ws",
        extensions=[ClientPerMessageDeflateFactory(**offer)],
        compression=None,
        ping_interval=None,
        max_size=None,
    )


def agreed(sock: ClientConnection) -> str:
    assert sock.response is not None
    return sock.response.headers.get("Sec-WebSocket-Extensions", "")


async def test_it_is_off_unless_asked() -> None:
    async with Rig() as rig:
        await rig.worker()
        async with client(rig) as sock:
            assert agreed(sock) == ""
            await sock.send("x" * 1000)
            assert await quick(sock.recv()) == "x" * 1000


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("window", [9, 15])
async def test_messages_of_all_sizes_come_back_as_they_were(window: int, takeover: bool) -> None:
    async with Rig(deflate=True, deflate_window=window, deflate_takeover=takeover) as rig:
        worker = await rig.worker()
        async with client(rig) as sock:
            assert f"server_max_window_bits={window}" in agreed(sock)
            assert f"client_max_window_bits={window}" in agreed(sock)
            assert "server_no_context_takeover" in agreed(sock)
            assert ("client_no_context_takeover" in agreed(sock)) is not takeover
            for message in (
                "",
                "a",
                "ä" * 300,
                "x" * 70_000,
                "text " * 100_000,
                os.urandom(100_000),
                b"\x00" * 900_000,
            ):
                await sock.send(message)
                assert await quick(sock.recv()) == message
            await sock.send(["in ", "x" * 1000, " pieces"])  # fragments
            assert await quick(sock.recv()) == "in " + "x" * 1000 + " pieces"
        assert {type(one.data) for one in worker.seen(Message) if one.kind == "message"} == {str, bytes}


async def test_a_client_may_ask_for_less_and_what_cannot_be_is_declined() -> None:
    async with Rig(deflate=True, deflate_window=12) as rig:
        await rig.worker()
        async with client(rig, server_max_window_bits=10, client_max_window_bits=11) as sock:
            assert "server_max_window_bits=10" in agreed(sock)
            assert "client_max_window_bits=11" in agreed(sock)
            await sock.send("x" * 5000)
            assert await quick(sock.recv()) == "x" * 5000
        async with client(rig, server_max_window_bits=8) as sock:  # zlib makes none
            assert agreed(sock) == ""
            await sock.send("x" * 5000)
            assert await quick(sock.recv()) == "x" * 5000


def masked(first: int, payload: bytes) -> bytes:
    size = len(payload)
    head = bytes([first, 0x80 | size]) if size < 126 else bytes([first, 0x80 | 127]) + size.to_bytes(8)
    return head + bytes(4) + payload


def squeezed(payload: bytes) -> bytes:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -12)
    return (squeeze.compress(payload) + squeeze.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize("pieces", [1, 5])
async def test_a_message_that_inflates_beyond_the_bound_is_cut_off_at_it(pieces: int) -> None:
    async with Rig(deflate=True, max_message=100_000) as rig:
        worker = await rig.worker()
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(HANDSHAKE % b"permessage-deflate")
        await quick(reader.readuntil(b"\r\n\r\n"))
        bomb = squeezed(bytes(30_000_000))
        assert len(bomb) < 50_000
        size = len(bomb) // pieces
        for number in range(pieces):
            part = bomb[number * size :] if number == pieces - 1 else bomb[number * size : (number + 1) * size]
            writer.write(masked((0x42 if number == 0 else 0) | (0x80 if number == pieces - 1 else 0), part))
        answer = await quick(reader.read())
        assert answer[0] == 0x88
        assert int.from_bytes(answer[2:4]) == codes.TOO_BIG
        assert [one for one in worker.seen(Message) if one.kind == "message"] == []
        writer.close()
        await until(lambda: rig.gateway.report.numbers()["closed_too_big"] == 1, "it is counted")


@pytest.mark.parametrize("payload", [b"\xff\xff\xff", b"no deflate"])
async def test_what_cannot_be_inflated_ends_the_connection(payload: bytes) -> None:
    async with Rig(deflate=True) as rig:
        await rig.worker()
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(HANDSHAKE % b"permessage-deflate" + masked(0xC1, payload))  # behind the handshake at once
        answer = (await quick(reader.read())).partition(b"\r\n\r\n")[2]
        assert answer[:1] == b"\x88"
        assert int.from_bytes(answer[2:4]) == 1002
        writer.close()


async def test_a_publication_to_many_is_compressed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    make = deflate.Deflater._make

    def counted(self: deflate.Deflater, plain: bytes) -> bytes:
        made.append(len(plain))
        return make(self, plain)

    monkeypatch.setattr(deflate.Deflater, "_make", counted)
    async with Rig(deflate=True) as rig:
        await rig.worker()
        socks = [await quick(client(rig).__aenter__()) for _ in range(10)]
        frame = text_frame(b"news " * 1000)
        for connection in rig.gateway.sockets.connections.values():
            connection.published(frame)
        assert [await quick(sock.recv()) for sock in socks] == ["news " * 1000] * 10
        assert made == [len(frame)]
        for sock in socks:
            await sock.close()
