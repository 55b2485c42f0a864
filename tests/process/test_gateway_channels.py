"""What a slow client gets of a channel is what its handler has said; what is not the channel's is never dropped."""

from __future__ import annotations

import asyncio
import json
import socket

import msgspec
import pytest

from headgate.gateway import codes
from headgate.gateway.connection import Connection
from headgate.link.messages import Effect, Effects, Open
from tests.process.gateway_rig import FakeWorker, Rig, quick, until
from tests.process.test_gateway_cases import HANDSHAKE, frames

pytestmark = pytest.mark.anyio


class Slow:
    """A client that reads when it is told to."""

    def __init__(self, rig: Rig) -> None:
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._sock.connect(("127.0.0.1", rig.port))
        self._sock.sendall(HANDSHAKE)

    async def read(self, until: bytes) -> list[tuple[int, bytes]]:
        """All frames, up to the one that contains these bytes."""
        self._sock.setblocking(False)
        got = bytearray()
        loop = asyncio.get_running_loop()
        while until not in got:
            piece = await quick(loop.sock_recv(self._sock, 100_000))
            assert piece, "it ended before"
            got += piece
        return list(frames(bytes(got).partition(b"\r\n\r\n")[2]))

    def close(self) -> None:
        self._sock.close()


async def joined(rig: Rig, worker: FakeWorker, *how: object) -> tuple[Slow, Connection]:
    """A client whose socket is full, and its connection."""
    worker.on_open = lambda one: worker.accept(one, effects=[Effect("join", list(how) if len(how) > 1 else how[0])])
    number = len(worker.seen(Open)) + 1
    client = Slow(rig)
    opened = await worker.next(Open, number)
    connection = await until(lambda: rig.gateway.sockets.connections.get(opened.connection), "the connection")
    while not connection.wire.blocked:
        connection.send("f" * 100_000)
    return client, connection


def is_open(connection: Connection) -> bool:
    return connection.wire.open


async def publish(rig: Rig, channel: str, count: int) -> None:
    for number in range(count):
        await rig.gateway.channels.pass_on(channel, msgspec.msgpack.encode({"n": number, "pad": "x" * 5_000}))


def numbers(got: list[tuple[int, bytes]]) -> list[int]:
    return [json.loads(payload)["n"] for _, payload in got if payload[:1] == b"{"]


@pytest.mark.parametrize("how", [("news",), ("news", "drop")])
async def test_the_oldest_give_way_and_what_must_arrive_does(how: tuple[str, ...]) -> None:
    async with Rig(outbox_bytes=100_000) as rig:
        worker = await rig.worker()
        client, connection = await joined(rig, worker, *how)
        connection.send("kept before")
        await publish(rig, "news", 200)
        worker.send(Effects(connection.id, [Effect("send", "kept after")]))
        await until(lambda: connection.dropped() > 150, "the oldest are given up")
        got = await client.read(b"kept after")
        assert (0x81, b"kept before") in got
        assert numbers(got) == list(range(200))[-len(numbers(got)) :], "the newest, without a gap"
        assert 0 < len(numbers(got)) < 20
        client.close()


async def test_only_the_newest_of_each_channel_waits() -> None:
    async with Rig(outbox_bytes=100_000) as rig:
        worker = await rig.worker()
        client, connection = await joined(rig, worker, "news", "latest")
        connection.join("other", "latest")
        await publish(rig, "news", 200)
        await publish(rig, "other", 50)
        await publish(rig, "news", 201)
        connection.send("kept after")
        assert sorted(numbers(await client.read(b"kept after"))) == [49, 200]
        assert rig.gateway.sockets.closed_slow == 0
        client.close()


async def test_a_channel_of_which_nothing_may_be_missed_closes_instead() -> None:
    async with Rig(outbox_bytes=100_000) as rig:
        worker = await rig.worker()
        client, connection = await joined(rig, worker, "news", "close")
        await publish(rig, "news", 10)
        assert is_open(connection), "it fits"
        await publish(rig, "news", 200)
        assert not is_open(connection)
        assert rig.gateway.sockets.closed_slow == 1
        got = await client.read(b"too slow")
        code, reason = int.from_bytes(got[-1][1][:2]), got[-1][1][2:]
        assert code == codes.TOO_SLOW
        assert b"unread" in reason
        assert b"resume" in reason
        client.close()


async def test_a_second_join_changes_the_policy_and_nonsense_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async with Rig(outbox_bytes=100_000) as rig:
        worker = await rig.worker()
        client, connection = await joined(rig, worker, "news", "close")
        worker.send(Effects(connection.id, [Effect("join", ["news", "latest"]), Effect("join", ["x", "nonsense"])]))
        await until(lambda: "nonsense" in caplog.text, "it is told")
        await publish(rig, "news", 200)
        assert connection.wire.open
        connection.leave("news")
        assert len(rig.gateway.channels) == 0
        client.close()
