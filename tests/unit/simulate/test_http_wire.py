"""The HTTP user against servers that answer as they are told, byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from headgate.simulate.wire.http import CONNECTIONS_PER_USER, HttpRequest, HttpResponse, HttpWire
from headgate.simulate.wire.port import WireOptions
from headgate.simulate.wire.source import SourceAddresses

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Answer = Callable[[int, bytes, asyncio.StreamWriter], Awaitable[None]]


class Ear:
    """A user that only listens."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[HttpResponse] = asyncio.Queue()
        self.ends: list[tuple[int, str]] = []
        self.retries = 0

    def received(self, message: Any, at: float) -> None:
        self.heard.put_nowait(message)

    def retried(self) -> None:
        self.retries += 1

    def closed(self, code: int, reason: str) -> None:
        self.ends.append((code, reason))

    async def next(self) -> HttpResponse:
        async with asyncio.timeout(10):
            return await self.heard.get()


class Server:
    """Hands each request's head to `answer`, with its number counted over all connections."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.connections = 0
        self.requests = 0
        self.stop: Callable[[], None] = lambda: None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                await self.answer(self.requests, head, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def talking(answer: Answer) -> AsyncIterator[tuple[HttpWire, Ear, Server]]:
    server = Server(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    server.stop = listening.close
    ear = Ear()
    wire = HttpWire(WireOptions(f"http://127.0.0.1:{port}/base/", 5.0, SourceAddresses(), {"X-Run": "1"}), ear)
    await wire.open()
    try:
        yield wire, ear, server
    finally:
        wire.abort()
        listening.close()


async def fine(_: int, __: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


async def test_a_connection_is_used_again() -> None:
    async with talking(fine) as (wire, ear, server):
        for click in range(3):
            wire.send(HttpRequest(), click)
            response = await ear.next()
            assert (response.status, response.body, response.click_id) == (200, b"ok", click)
        assert (server.connections, server.requests) == (1, 3)


async def test_what_is_sent() -> None:
    heads: list[bytes] = []

    async def keep(_: int, head: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        writer.write(OK)

    async with talking(keep) as (wire, ear, _):
        wire.send(HttpRequest("GET", "sub?x=1", {"Accept": "text/plain"}))
        await ear.next()
        wire.send(HttpRequest("PUT", "/root"))
        await ear.next()
    lines = heads[0].decode().splitlines()
    assert lines[0] == "GET /base/sub?x=1 HTTP/1.1"
    assert "X-Run: 1" in lines
    assert "Accept: text/plain" in lines
    assert not any(line.startswith("Content-Length") for line in lines)
    assert heads[1].startswith(b"PUT /root HTTP/1.1\r\n")
    assert b"Content-Length: 0\r\n" in heads[1]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_other_ways_to_answer(answer: bytes) -> None:
    async def slowly(_: int, __: bytes, writer: asyncio.StreamWriter) -> None:
        for byte in answer:
            writer.write(bytes([byte]))
            await asyncio.sleep(0)

    async with talking(slowly) as (wire, ear, server):
        for _ in range(2):
            wire.send(HttpRequest(), 1)
            response = await ear.next()
            assert (response.status, response.body) == (200, b"ok")
        assert server.connections == 1


async def test_a_body_that_ends_with_the_connection() -> None:
    async def until_the_end(_: int, __: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\nok")
        await writer.drain()
        writer.close()

    async with talking(until_the_end) as (wire, ear, server):
        for _ in range(2):
            wire.send(HttpRequest(), 1)
            response = await ear.next()
            assert (response.status, response.body) == (200, b"ok")
        assert server.connections == 2


async def test_an_answer_to_head_has_no_body() -> None:
    async def head(_: int, __: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")

    async with talking(head) as (wire, ear, _):
        wire.send(HttpRequest("HEAD"), 1)
        assert (await ear.next()).status == 200


async def test_a_connection_that_breaks_in_mid_answer_is_status_0() -> None:
    async def cut(number: int, _: bytes, writer: asyncio.StreamWriter) -> None:
        if number > 1:
            writer.write(OK)
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nbeg")
        await writer.drain()
        writer.transport.abort()

    async with talking(cut) as (wire, ear, _):
        wire.send(HttpRequest(), 1)
        broken = await ear.next()
        assert (broken.status, broken.click_id) == (0, 1)
        wire.send(HttpRequest(), 2)
        assert (await ear.next()).status == 200


async def test_every_request_fails_when_the_server_is_gone() -> None:
    async def last(_: int, __: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")

    async with talking(last) as (wire, ear, server):
        wire.send(HttpRequest(), 0)
        assert (await ear.next()).status == 200
        server.stop()
        clicks = range(1, 2 * CONNECTIONS_PER_USER)
        for click in clicks:
            wire.send(HttpRequest(), click)
        broken = [await ear.next() for _ in clicks]
        assert {response.status for response in broken} == {0}
        assert sorted(response.click_id or 0 for response in broken) == list(clicks)


async def cut_the_second(number: int, _: bytes, writer: asyncio.StreamWriter) -> None:
    if number == 2:
        writer.transport.abort()  # as a server does whose keep-alive time is over
    else:
        writer.write(OK)


async def test_a_request_that_met_an_idle_connection_just_closed_is_sent_again() -> None:
    async with talking(cut_the_second) as (wire, ear, server):
        for click in (1, 2):
            wire.send(HttpRequest(), click)
            assert (await ear.next()).status == 200
        assert (server.connections, server.requests, ear.retries) == (2, 3, 1)


async def test_what_must_not_be_done_twice_is_not_sent_again() -> None:
    async with talking(cut_the_second) as (wire, ear, server):
        for click, status in ((1, 200), (2, 0), (3, 200)):
            wire.send(HttpRequest("POST"), click)
            assert (await ear.next()).status == status
        assert (server.requests, ear.retries) == (3, 0)


async def test_a_connection_that_is_closing_is_not_used_again() -> None:
    async with talking(fine) as (wire, ear, server):
        for connection in wire._all:
            connection.close()
        wire.send(HttpRequest("POST"), 1)
        assert (await ear.next()).status == 200
        assert (server.connections, server.requests, ear.retries) == (2, 1, 0)


async def test_requests_beyond_the_connections_wait_their_turn() -> None:
    gate, full = asyncio.Event(), asyncio.Event()

    async def when_told(number: int, _: bytes, writer: asyncio.StreamWriter) -> None:
        if number == CONNECTIONS_PER_USER:
            full.set()
        await gate.wait()
        writer.write(OK)

    async with talking(when_told) as (wire, ear, server):
        for click in range(10):
            wire.send(HttpRequest(), click)
        async with asyncio.timeout(10):
            await full.wait()
        gate.set()
        clicks = [(await ear.next()).click_id for _ in range(10)]
        assert sorted(click for click in clicks if click is not None) == list(range(10))
        assert server.connections == CONNECTIONS_PER_USER


async def test_rubbish_is_a_broken_connection() -> None:
    async def rubbish(_: int, __: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")

    async with talking(rubbish) as (wire, ear, _):
        wire.send(HttpRequest(), 1)
        assert (await ear.next()).status == 0


async def test_only_requests_can_be_sent() -> None:
    async with talking(fine) as (wire, _, __):
        with pytest.raises(TypeError, match="HttpRequest"):
            wire.send({"id": 1}, 1)
