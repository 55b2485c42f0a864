"""The engine for threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from headgate.base.errors import NotHosted, Unavailable, UnknownStream
from headgate.base.model import JobState, NewEvent
from headgate.drivers.bridge import Bridge
from headgate.drivers.memory import MemoryEngine
from tests.support.contract import spec


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    made = Bridge(MemoryEngine())
    made.open()
    yield made
    made.close()


def test_calls_from_many_threads(bridge: Bridge) -> None:
    jobs = [spec() for _ in range(40)]
    threads = [threading.Thread(target=bridge.put, args=([job],)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert bridge.stats() == {"default": {"queued": 40}}
    record = bridge.get(jobs[0].id)
    assert record is not None
    assert record.state is JobState.QUEUED
    assert bridge.cancel(jobs[0].id) is JobState.CANCELLED


def test_errors_are_raised_in_the_calling_thread(bridge: Bridge) -> None:
    with pytest.raises(UnknownStream):
        bridge.read("nowhere")


def test_following_blocks_until_there_is_more_and_times_out(bridge: Bridge) -> None:
    bridge.append("s", [NewEvent("row", 1)])
    events = bridge.follow("s", timeout=0.2)
    assert next(events).data == 1
    with pytest.raises(TimeoutError):
        next(events)
    bridge.append("s", [NewEvent("end", None, terminal=True)])
    assert [event.kind for event in bridge.follow("s", timeout=10)] == ["row", "end"]


def test_a_call_on_the_bridges_own_loop_is_refused(bridge: Bridge) -> None:
    async def wrong() -> Any:
        return bridge.stats()

    with pytest.raises(NotHosted, match="event loop"):
        bridge.call(wrong)


def test_a_timeout_gives_the_call_up(bridge: Bridge) -> None:
    with pytest.raises(TimeoutError):
        bridge.call(bridge.engine.source.take, "w", ["*"], 1, timeout=0.1)
    bridge.put([spec()])
    claims = bridge.call(bridge.engine.source.take, "w2", ["*"], 1, timeout=10)
    assert len(claims) == 1


def test_closing_fails_those_who_wait() -> None:
    bridge = Bridge(MemoryEngine())
    bridge.open()
    failed: list[BaseException] = []

    def wait() -> None:
        try:
            bridge.call(bridge.engine.source.take, "w", ["*"], 1)
        except BaseException as exc:
            failed.append(exc)

    thread = threading.Thread(target=wait)
    thread.start()
    bridge.stats()
    bridge.close()
    thread.join(20)
    assert [type(exc) for exc in failed] == [Unavailable]
    with pytest.raises(Unavailable):
        bridge.stats()
