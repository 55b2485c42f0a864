from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from headgate.base.errors import ProtocolError, Unavailable
from headgate.link.messages import VERSION, Chunk, Draining, GatewayHello, ToGateway, ToWorker, WorkerHello
from headgate.link.session import gateway_session, worker_session
from headgate.link.transport import LinkTransport, dial

pytestmark = pytest.mark.anyio
HELLO = WorkerHello(VERSION, "w", 1, "fast", 1, 8, "wsgi", [], {})


class Pair:
    """A gateway's and a worker's end over a real socket pair, with what each of them got."""

    def __init__(self) -> None:
        self.at_gateway: list[ToGateway] = []
        self.at_worker: list[ToWorker] = []
        self.ended: asyncio.Queue[tuple[str, BaseException | None]] = asyncio.Queue()

    async def connect(self) -> Pair:
        loop = asyncio.get_running_loop()
        left, right = socket.socketpair()
        _, self.gateway = await loop.create_connection(
            lambda: LinkTransport(
                gateway_session(),
                lambda _, message: self.at_gateway.append(message),
                lambda _, reason: self.ended.put_nowait(("gateway", reason)),
            ),
            sock=left,
        )
        _, self.worker = await loop.create_connection(
            lambda: LinkTransport(
                worker_session(),
                lambda _, message: self.at_worker.append(message),
                lambda _, reason: self.ended.put_nowait(("worker", reason)),
            ),
            sock=right,
        )
        return self

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - the condition is a list that another end fills
                await asyncio.sleep(0.001)


async def test_one_loop_turn_is_one_write_in_order() -> None:
    pair = await Pair().connect()
    pair.worker.send(HELLO)
    for number in range(100):
        pair.worker.send(Chunk(number, b"x", False))
    pair.gateway.send(GatewayHello(VERSION, 0, 1, "/tmp"))
    await pair.until(lambda: len(pair.at_gateway) == 101 and pair.at_worker)
    assert [m.stream for m in pair.at_gateway[1:] if isinstance(m, Chunk)] == list(range(100))
    pair.worker.close()
    pair.gateway.close()


async def test_threads_and_the_loop_keep_the_order_of_each() -> None:
    pair = await Pair().connect()
    pair.worker.send(HELLO)

    def work(stream: int) -> None:
        for number in range(200):
            pair.worker.send_threadsafe(Chunk(stream, b"%d" % number, True))

    threads = [threading.Thread(target=work, args=(stream,)) for stream in range(4)]
    for thread in threads:
        thread.start()
    await pair.until(lambda: len(pair.at_gateway) == 801)
    for thread in threads:
        thread.join(10)
    for stream in range(4):
        bodies = [m.body for m in pair.at_gateway if isinstance(m, Chunk) and m.stream == stream]
        assert bodies == [b"%d" % number for number in range(200)]
    pair.worker.close()
    pair.gateway.close()


async def test_what_is_queued_is_sent_before_a_close() -> None:
    pair = await Pair().connect()
    pair.worker.send(HELLO)
    pair.worker.send(Draining())
    pair.worker.close()
    async with asyncio.timeout(10):
        ends = dict([await pair.ended.get(), await pair.ended.get()])
    assert ends == {"gateway": None, "worker": None}
    assert pair.at_gateway == [HELLO, Draining()]
    pair.worker.send(Draining())  # to a closed link: nothing happens
    pair.worker.send_threadsafe(Draining())


async def test_a_peer_that_breaks_the_protocol_loses_the_link_with_the_reason() -> None:
    pair = await Pair().connect()
    pair.worker.send(Draining())
    async with asyncio.timeout(10):
        ends = dict([await pair.ended.get(), await pair.ended.get()])
    assert isinstance(ends["gateway"], ProtocolError)


async def test_a_reader_that_stops_holds_the_writer_back() -> None:
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    _, writer = await loop.create_connection(
        lambda: LinkTransport(worker_session(), lambda *_: None, lambda *_: None), sock=left
    )
    writer.send(Chunk(1, bytes(8_000_000), False))
    waiting = asyncio.ensure_future(writer.drained())
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    right.close()
    async with asyncio.timeout(10):
        await waiting
    assert writer.closed


async def test_nobody_at_the_link_socket_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no gateway answers"):
        await dial(str(tmp_path / "none.sock"), worker_session(), lambda *_: None, lambda *_: None)
