"""The child's side alone: the stop order, notices, the channel's thread, standalone children."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from headgate.base.errors import NotHosted
from headgate.base.frames import FrameReader
from headgate.config.settings import Settings
from headgate.supervisor import channel
from headgate.supervisor.channel import decode_to_supervisor, encode
from headgate.supervisor.child import Child, lateness
from headgate.supervisor.stop import Stop
from headgate.supervisor.wire import Wire
from tests.support.wait import until


class Peer:
    """The supervisor's end of a wire under test."""

    def __init__(self) -> None:
        self.end, theirs = socket.socketpair()
        self.end.settimeout(10)
        self.heard: list[channel.ToChild] = []
        self.lost = threading.Event()
        self.wire = Wire(theirs, self.heard.append, self.lost.set)
        self.reader = FrameReader(channel.FRAME_LIMIT)

    def messages(self, count: int) -> list[channel.ToSupervisor]:
        found: list[channel.ToSupervisor] = []
        while len(found) < count:
            found += map(decode_to_supervisor, self.reader.feed(self.end.recv(65536)))
        return found


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    peer.wire.start()
    yield peer
    peer.end.close()
    assert peer.lost.wait(10)


def test_what_is_said_arrives_in_order(peer: Peer) -> None:
    failed = channel.Failed("no", "Traceback", True)
    peer.wire.send(channel.Ready())
    peer.wire.send(failed)
    assert peer.wire.flush(10)
    assert peer.messages(2) == [channel.Ready(), failed]


def test_what_is_told_is_heard_however_it_is_cut(peer: Peer) -> None:
    told: list[channel.ToChild] = [channel.Stop(2.5), channel.Notice("worker_died", {"name": "a"})]
    for byte in b"".join(map(encode, told)):
        peer.end.sendall(bytes([byte]))
    until(lambda: peer.heard == told, "both messages")


def test_reports_are_sent_once_a_second_and_the_newest_wins(peer: Peer) -> None:
    peer.wire.report({"n": 0})
    assert peer.messages(1) == [channel.Report({"n": 0})]
    for number in range(1, 500):
        peer.wire.report({"n": number})
    assert peer.messages(1) == [channel.Report({"n": 499})]


def test_a_supervisor_that_does_not_read_holds_nobody_up(peer: Peer) -> None:
    began = time.monotonic()
    for number in range(200):
        peer.wire.touch()
        peer.wire.send(channel.Report({"much": "x" * 10_000, "n": number}))
    assert not peer.wire.flush(0.05)
    assert time.monotonic() - began < 8
    assert peer.messages(200)[-1]
    assert peer.wire.flush(10)


def test_values_without_msgpack_form_are_reported_as_text(peer: Peer) -> None:
    peer.wire.report({"path": threading.Event})
    assert peer.messages(1) == [channel.Report({"path": str(threading.Event)})]


def test_a_stop_order_is_awaited_and_called_back_once() -> None:
    stop = Stop()
    calls: list[float] = []
    stop.add(calls.append)

    async def wait() -> float:
        waiting = asyncio.create_task(stop.wait())
        await asyncio.sleep(0)
        threading.Thread(target=stop.order, args=(5.0,)).start()
        return await waiting

    assert not stop.is_set()
    assert 4 < asyncio.run(wait()) <= 5
    stop.order(600.0)
    assert stop.is_set()
    assert stop.remaining <= 5
    stop.order(1.0)
    assert stop.remaining <= 1
    assert len(calls) == 1
    assert asyncio.run(stop.wait()) <= 1
    stop.add(calls.append)
    assert len(calls) == 2


def test_a_wait_that_is_given_up_leaves_nothing() -> None:
    stop = Stop()

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0.01)

    asyncio.run(give_up())
    stop.order(1.0)  # would call into the closed loop


def test_notices_wait_for_their_callback() -> None:
    child = Child.standalone("broker", Settings())
    heard: list[object] = []
    child.notice("worker_died", {"name": "a"})
    child.notice("other", {"name": "x"})
    child.on_message("worker_died", heard.append)
    child.notice("worker_died", {"name": "b"})
    assert heard == [{"name": "a"}, {"name": "b"}]


def test_notices_are_heard_in_the_loop() -> None:
    child = Child.standalone("broker", Settings())
    threads: list[int] = []

    async def hear() -> None:
        child.bind_loop(asyncio.get_running_loop())
        came = asyncio.Event()

        def take(_: Mapping[str, Any]) -> None:
            threads.append(threading.get_ident())
            came.set()

        child.on_message("news", take)
        threading.Thread(target=child.notice, args=("news", {})).start()
        await came.wait()

    asyncio.run(hear())
    assert threads == [threading.get_ident()]


def test_a_standalone_child_shows_what_it_said() -> None:
    child = Child.standalone("app", Settings(), lane="slow", index=2, links=["/a"], replaces="app-slow-2.1-1")
    child.touch()
    child.report({"running": 1})
    child.ready()
    child.failed(ValueError("late"))
    assert child.name.startswith("app-slow-2.1-")
    assert (child.stats, child.is_ready.is_set(), str(child.failure)) == ({"running": 1}, True, "late")
    assert child.flush(0)


def test_what_blocks_the_loop_is_its_lag_and_is_reported() -> None:
    async def blocked() -> float:
        asyncio.get_running_loop().call_later(0.01, time.sleep, 0.2)
        return await lateness(beats=2, gap=0.05)

    child = Child.standalone("gateway", Settings())
    child.loop_lag = asyncio.run(blocked())
    assert child.loop_lag > 0.1
    child.report({"sockets": 1})
    assert child.stats == {"sockets": 1, "loop_lag": round(child.loop_lag, 6)}


def test_a_role_started_by_hand_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADGATE_CHILD", raising=False)
    with pytest.raises(NotHosted, match="started by `headgate run`, not by hand"):
        Child.from_environment()
