"""The worker's end of a link when the gateway does not read: nothing is lost, mixed up or left lying."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from typing import Any

import pytest

from headgate.apps.wire import Wire
from headgate.link.messages import VERSION, Chunk, WorkerHello
from headgate.link.session import Session, gateway_session, worker_session

pytestmark = pytest.mark.anyio

HELLO = WorkerHello(VERSION, "w", os.getpid(), "fast", 1, 4, "wsgi", [], {})
DEADLINE = 10.0


def waits(wire: Wire) -> bool:
    return wire.waiting


async def _until(condition: Any) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - a thread changes it
            await asyncio.sleep(0.002)


async def test_what_a_full_socket_does_not_take_goes_out_whole_and_in_order_when_it_does() -> None:
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    ended: list[BaseException | None] = []
    wire = Wire(ours, worker_session(), lambda *_: None, lambda _, reason: ended.append(reason))
    wire.send(HELLO)
    threads, each = 4, 100

    def write(number: int) -> None:
        for count in range(each):
            wire.send(Chunk(number, count.to_bytes(2) + b"x" * 5000, True))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(threads)]
    for one in writers:
        one.start()
    for one in writers:
        await asyncio.to_thread(one.join, DEADLINE)
    assert waits(wire), "the socket is full: the rest is left to the loop"

    session: Session[Any, Any] = gateway_session()
    got: list[Any] = []
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DEADLINE):
        while len(got) < threads * each + 1:
            got += session.feed(await loop.sock_recv(theirs, 10_000))
    assert not waits(wire)
    for number in range(threads):
        counts = [int.from_bytes(one.body[:2]) for one in got[1:] if one.stream == number]
        assert counts == list(range(each)), "each thread's messages keep their order"
    wire.send(Chunk(0, b"after", True))
    async with asyncio.timeout(DEADLINE):
        [last] = session.feed(await loop.sock_recv(theirs, 10_000))
    assert last.body == b"after"
    wire.close()
    theirs.close()
    assert ended == [None]


async def test_a_gateway_that_goes_while_the_socket_is_full_ends_the_link() -> None:
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    ended: list[BaseException | None] = []
    wire = Wire(ours, worker_session(), lambda *_: None, lambda _, reason: ended.append(reason))
    wire.send(HELLO)
    while not waits(wire):
        wire.send(Chunk(1, b"x" * 60_000, True))
    theirs.close()
    await _until(lambda: ended)
    assert wire.closed
    assert not waits(wire), "what it would have got is dropped"
    with contextlib.suppress(OSError):
        wire.send(Chunk(1, b"x", True))
    assert len(ended) == 1
