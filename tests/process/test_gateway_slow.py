"""HTTP clients that keep a gateway waiting: none of them holds an app worker, nor the gateway for ever."""

from __future__ import annotations

import asyncio
import logging
import socket
import time

import pytest

from headgate.gateway.bodies import Pace, TooSlow
from headgate.link.messages import Cancel, Chunk, Head, Request
from headgate.link.session import PIECE
from tests.process.gateway_rig import Rig, quick, until

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def deaf(rig: Rig, data: bytes) -> socket.socket:
    """A client that sends, and never reads."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", rig.port))
    sock.sendall(data)
    return sock


async def test_a_client_that_takes_nothing_is_cut_off_and_its_handler_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "headgate.gateway")
    async with Rig(send_timeout=1) as rig:
        worker = await rig.worker()
        worker.on_request = worker.hold
        sock = deaf(rig, GET)
        request = await worker.next(Request)
        worker.send(Head(request.stream, 200, [], b"", True, "GET /"))
        for _ in range(200):  # far more than the kernel keeps for it
            worker.send(Chunk(request.stream, b"x" * PIECE, True))
        cancel = await worker.next(Cancel)
        assert cancel.stream == request.stream, "the handler hears ClientGone"
        assert rig.gateway.report.numbers()["stalled_responses"] == 1
        assert rig.gateway.report.limited()["send_timeout"] == 1
        assert any("send_timeout" in record.getMessage() for record in caplog.records)
        await until(lambda: rig.gateway.app.connections == 0, "nothing is left of it")
        sock.close()


async def test_one_that_takes_a_whole_response_too_slowly_is_cut_off_as_well() -> None:
    async with Rig(send_timeout=1, keepalive_timeout=1) as rig:
        worker = await rig.worker()
        worker.on_request = worker.hold
        sock = deaf(rig, GET)
        request = await worker.next(Request)
        worker.send(Head(request.stream, 200, [], b"", True, "GET /"))
        for _ in range(120):
            worker.send(Chunk(request.stream, b"x" * PIECE, True))
        worker.send(Chunk(request.stream, b"", False, 0.1))  # the handler is done, its slot free
        await until(lambda: rig.gateway.app.stalled == 1, "it is cut off")
        await until(lambda: rig.gateway.app.connections == 0, "nothing is left of it")
        sock.close()


async def test_a_slow_reader_that_takes_something_is_let_be() -> None:
    async with Rig(send_timeout=1) as rig:
        worker = await rig.worker()
        worker.on_request = worker.hold
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port, limit=4096)
        writer.write(GET)
        request = await worker.next(Request)
        worker.send(Head(request.stream, 200, [], b"", True, "GET /"))
        for _ in range(120):
            worker.send(Chunk(request.stream, b"x" * PIECE, True))
        worker.send(Chunk(request.stream, b"", False, 0.1))
        until_then = time.monotonic() + 3.5
        taken = 0
        while time.monotonic() < until_then:
            taken += len(await quick(reader.readexactly(100_000)))
            await asyncio.sleep(0.1)
        taken += len(await quick(_to_end(reader)))
        assert taken > 120 * PIECE
        assert rig.gateway.app.stalled == 0
        writer.close()


async def _to_end(reader: asyncio.StreamReader) -> bytes:
    held = bytearray()
    while not held.endswith(b"\r\n0\r\n\r\n"):
        held += await reader.readexactly(1)
        held += await reader.read(65_536)
    return bytes(held)


async def test_an_upload_has_to_keep_a_pace() -> None:
    async with Rig(body_timeout=1, body_rate=1000) as rig:
        worker = await rig.worker()
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n")

        async def drip() -> None:
            while not writer.is_closing():
                writer.write(b"x")  # never silent, never done
                await asyncio.sleep(0.1)

        dripping = asyncio.create_task(drip())
        answer = await quick(reader.read())
        dripping.cancel()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"body_rate" in answer
        assert rig.gateway.report.limited()["body_rate"] == 1
        assert worker.seen(Request) == []
        writer.close()


def test_the_pace_counts_from_the_idle_time_on() -> None:
    pace = Pace(idle=10.0, rate=100.0)
    pace.check(0, 10.0)
    pace.check(1100, 11.0)
    with pytest.raises(TooSlow, match=r"less than 100 bytes per second \(body_rate\)"):
        pace.check(1099, 11.0)
    Pace(idle=10.0).check(0, 1000.0)


async def test_a_head_that_waits_behind_a_long_response_is_not_late() -> None:
    async with Rig(head_timeout=1) as rig:
        worker = await rig.worker()
        worker.on_request = worker.hold
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(GET + b"GET / HT")
        request = await worker.next(Request)
        looked = rig.stats
        looked.clear()
        for _ in range(3):  # three looks around: more than head_timeout
            await until(lambda: rig.stats, "a second has passed")
            rig.stats.clear()
        worker.on_request = worker.ok
        worker.ok(request)
        writer.write(b"TP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await quick(reader.read())).count(b"HTTP/1.1 200 ") == 2
        writer.close()
