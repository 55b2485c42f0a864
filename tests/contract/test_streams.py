"""`Streams` and `Channels`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headgate.base.channels import ChannelNames
from headgate.base.errors import StreamEnded, StreamError, UnknownStream
from headgate.base.model import NewEvent
from tests.support.contract import LIMITS, collect, eventually, put, settle, take

pytestmark = pytest.mark.anyio


def events(*numbers: int) -> list[NewEvent]:
    return [NewEvent("row", {"n": n}) for n in numbers]


async def test_append_and_read_from_an_offset(rig: Any) -> None:
    streams = rig.engine.streams
    assert await streams.append("imports/7", events(1, 2)) == 2
    assert await streams.append("imports/7", events(3)) == 3
    batch = await streams.read("imports/7", 1)
    assert [(event.offset, event.data["n"]) for event in batch.events] == [(2, 2), (3, 3)]
    assert (batch.next, batch.ended, batch.truncated) == (3, False, None)
    assert (await streams.read("imports/7", 3)).events == []
    page = await streams.read("imports/7", 0, most=2)
    assert (len(page.events), page.next) == (2, 2)


async def test_a_stream_ends_with_its_terminal_record(rig: Any) -> None:
    await rig.engine.streams.append("s", [*events(1), NewEvent("end", None, terminal=True)])
    assert (await rig.engine.streams.read("s", 0)).ended
    assert not (await rig.engine.streams.read("s", 0, most=1)).ended
    with pytest.raises(StreamEnded):
        await rig.engine.streams.append("s", events(2))


async def test_an_unknown_stream(rig: Any) -> None:
    with pytest.raises(UnknownStream):
        await rig.engine.streams.read("nowhere", 0)
    with pytest.raises(UnknownStream):
        await asyncio.wait_for(collect(rig.engine, "jobs/nowhere"), 10)


async def test_user_code_cannot_append_to_a_jobs_stream(rig: Any) -> None:
    job = await put(rig.engine)
    with pytest.raises(StreamError, match="job's stream"):
        await rig.engine.streams.append(f"jobs/{job.id}", events(1))


async def test_a_follower_gets_what_was_and_what_comes(rig: Any) -> None:
    job = await put(rig.engine)
    following = asyncio.ensure_future(collect(rig.engine, f"jobs/{job.id}"))
    (claim,) = await take(rig.engine)
    for n in range(5):
        await rig.engine.source.progress(job.id, claim.job.epoch, [NewEvent("progress", {"done": n})])
    await settle(rig.engine, claim)
    got = await asyncio.wait_for(following, 10)
    assert [event.offset for event in got] == list(range(1, 9))
    assert got[-1].terminal
    assert [event.offset for event in await collect(rig.engine, f"jobs/{job.id}", 5)] == [6, 7, 8]


async def test_many_followers_at_different_offsets(rig: Any) -> None:
    await rig.engine.streams.append("s", events(*range(40)))
    following = [asyncio.ensure_future(collect(rig.engine, "s", after)) for after in (0, 10, 40, 25, 0)]
    await rig.engine.jobs.stats()
    await rig.engine.streams.append("s", events(*range(40, 60)))
    await rig.engine.streams.append("s", [NewEvent("end", None, terminal=True)])
    for after, got in zip((0, 10, 40, 25, 0), await asyncio.wait_for(asyncio.gather(*following), 10), strict=True):
        assert [event.offset for event in got] == list(range(after + 1, 62))


async def test_a_follower_that_stops_reading_gets_everything_when_it_reads_on(rig: Any) -> None:
    await rig.engine.streams.append("s", events(0))
    slow = rig.engine.streams.follow("s", 0)
    got = [await asyncio.wait_for(anext(slow), 10)]
    for n in range(1, 90):
        await rig.engine.streams.append("s", events(n))
    await rig.engine.streams.append("s", [NewEvent("end", None, terminal=True)])
    got += [event async for event in slow]
    assert [event.offset for event in got] == list(range(1, 92))


async def test_what_is_out_of_retention_is_told(rig: Any) -> None:
    bound = LIMITS.stream_events
    for n in range(bound * 2):
        await rig.engine.streams.append("s", events(n))
    batch = await rig.engine.streams.read("s", 0)
    assert "retention" in batch.truncated
    assert bound <= len(batch.events) <= bound * 1.1
    assert batch.next == bound * 2
    await rig.engine.streams.append("s", [NewEvent("end", None, terminal=True)])
    got = await asyncio.wait_for(collect(rig.engine, "s", 3), 10)
    assert got[0].kind == "truncated"
    assert [event.offset for event in got[1:]] == list(range(got[1].offset, bound * 2 + 2))


async def test_a_stream_that_nobody_appends_to_is_forgotten(rig: Any) -> None:
    await rig.engine.streams.append("s", events(1))
    await rig.clock.advance(LIMITS.stream_ttl + 2)
    with pytest.raises(UnknownStream):
        await rig.engine.streams.read("s", 0)


async def test_channels_reach_those_who_want_them(rig: Any) -> None:
    names = ChannelNames()
    names.add("orders")
    heard: list[tuple[str, bytes]] = []

    async def listen() -> None:
        async for message in rig.engine.channels.subscribe(names):
            heard.append(message)

    listening = asyncio.ensure_future(listen())
    await asyncio.sleep(0)

    async def says(channel: str) -> bool:
        await rig.engine.channels.publish(channel, channel.encode())
        return (channel, channel.encode()) in heard

    await eventually(lambda: says("orders"), "orders is heard")
    await rig.engine.channels.publish("items", b"unheard")
    names.add("items")
    await eventually(lambda: says("items"), "items is heard")
    assert ("items", b"unheard") not in heard
    names.discard("orders")
    await rig.engine.jobs.stats()
    heard.clear()
    await rig.engine.channels.publish("orders", b"late")
    assert await eventually(lambda: says("items"), "items is heard still")
    assert ("orders", b"late") not in heard
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_a_slow_listener_loses_the_oldest_and_it_is_counted(rig: Any) -> None:
    names = ChannelNames()
    names.add("ticks")
    listening = rig.engine.channels.subscribe(names)
    first = asyncio.ensure_future(anext(listening))
    await asyncio.sleep(0)
    await rig.engine.jobs.stats()
    await rig.engine.channels.publish("ticks", b"first")
    assert await asyncio.wait_for(first, 10) == ("ticks", b"first")
    for n in range(1_200):
        await rig.engine.channels.publish("ticks", str(n).encode())
    assert await anext(listening) == ("ticks", b"200")
    await listening.aclose()
    assert rig.engine.status()["channel_messages_dropped"] == 200
