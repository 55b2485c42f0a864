"""`Streams` beyond append and read: producers that repeat themselves, streams with a time, forks, bounds."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from headgate.base.errors import BadOffset, StreamConflict, StreamError, UnknownStream
from headgate.base.model import NewEvent
from headgate.base.streams import MESSAGE, Outcome, Producer, Retention, StreamSpec, Write
from tests.support.contract import collect, put

pytestmark = pytest.mark.anyio
TEXT = "text/plain"


def messages(*values: Any) -> list[NewEvent]:
    return [NewEvent(MESSAGE, value) for value in values]


async def values(rig: Any, stream: str, after: int = 0) -> list[Any]:
    return [event.data for event in (await rig.engine.streams.read(stream, after)).events]


async def write(rig: Any, stream: str, *data: Any, **conditions: Any) -> Outcome:
    made = Write(events=messages(*data), spec=StreamSpec(), **conditions)
    return Outcome((await rig.engine.streams.write(stream, made)).outcome)


async def test_a_write_that_is_repeated_is_appended_once(rig: Any) -> None:
    first = Producer("importer", 0, 0)
    assert await write(rig, "s", "a", "b", producer=first) is Outcome.APPENDED
    assert await write(rig, "s", "a", "b", producer=first) is Outcome.DUPLICATE
    assert await write(rig, "s", "c", producer=Producer("importer", 0, 1)) is Outcome.APPENDED
    answer = await rig.engine.streams.write("s", Write(events=messages("a"), producer=first))
    assert (answer.outcome, answer.last, answer.epoch, answer.seq) == (Outcome.DUPLICATE, 3, 0, 1)
    assert await values(rig, "s") == ["a", "b", "c"]


async def test_a_producer_of_an_older_epoch_is_shut_out(rig: Any) -> None:
    assert await write(rig, "s", "old", producer=Producer("p", 0, 0)) is Outcome.APPENDED
    assert await write(rig, "s", "x", producer=Producer("p", 1, 1)) is Outcome.BAD_START
    assert await write(rig, "s", "new", producer=Producer("p", 1, 0)) is Outcome.APPENDED
    assert await write(rig, "s", "late", producer=Producer("p", 0, 1)) is Outcome.STALE
    assert await write(rig, "s", "x", producer=Producer("p", 1, 2)) is Outcome.GAP
    assert await write(rig, "s", "x", producer=Producer("other", 0, 1)) is Outcome.GAP
    assert await values(rig, "s") == ["old", "new"]


async def test_concurrent_repetitions_are_appended_once(rig: Any) -> None:
    same = Producer("p", 0, 0)
    outcomes = await asyncio.gather(*(write(rig, "s", "once", producer=same) for _ in range(8)))
    assert sorted(outcomes) == sorted([Outcome.APPENDED, *[Outcome.DUPLICATE] * 7])
    assert await values(rig, "s") == ["once"]


async def test_an_ended_stream_takes_nothing_but_what_ended_it(rig: Any) -> None:
    last = Producer("p", 0, 0)
    assert await write(rig, "s", "end", close=True, producer=last) is Outcome.APPENDED
    assert await write(rig, "s", "end", close=True, producer=last) is Outcome.DUPLICATE
    assert await write(rig, "s", "more") is Outcome.ENDED
    assert await write(rig, "s", "more", producer=Producer("p", 0, 1)) is Outcome.ENDED
    assert await write(rig, "s", close=True) is Outcome.DUPLICATE
    assert (await rig.engine.streams.read("s", 0)).ended


async def test_a_stream_can_end_without_data(rig: Any) -> None:
    await write(rig, "s", "only")
    assert await write(rig, "s", close=True) is Outcome.APPENDED
    info = await rig.engine.streams.info("s")
    assert (info.last, info.ended) == (1, True)
    assert [event.kind for event in await collect(rig.engine, "s")] == [MESSAGE, "closed"]


async def test_conditions_of_an_append(rig: Any) -> None:
    await rig.engine.streams.create("s", StreamSpec(content_type=TEXT))
    assert await write(rig, "s", b"x", content_type="text/html") is Outcome.MISMATCH
    assert await write(rig, "s", b"x", content_type=TEXT, seq="09") is Outcome.APPENDED
    assert await write(rig, "s", b"x", seq="09") is Outcome.BEHIND
    assert await write(rig, "s", b"x", seq="10") is Outcome.APPENDED
    with pytest.raises(UnknownStream):
        await rig.engine.streams.write("nowhere", Write(events=messages("x")))


async def test_a_stream_is_made_once(rig: Any) -> None:
    streams = rig.engine.streams
    made, new = await streams.create("s", StreamSpec(content_type=TEXT), Write(events=messages(b"one")))
    again, anew = await streams.create("s", StreamSpec(), Write(events=messages(b"two")))
    assert (new, anew, again) == (True, False, made)
    assert await values(rig, "s") == [b"one"]
    with pytest.raises(StreamError, match="job"):
        await streams.create("jobs/x", StreamSpec())


async def test_a_deleted_stream_is_gone_and_its_followers_are_told(rig: Any) -> None:
    streams = rig.engine.streams
    await write(rig, "s", 1, 2)
    made = (await streams.info("s")).made
    follower = streams.follow("s", 0)
    assert [(await asyncio.wait_for(anext(follower), 10)).data for _ in range(2)] == [1, 2]
    await streams.delete("s")
    gone = await asyncio.wait_for(anext(follower), 10)
    assert (gone.kind, gone.terminal) == ("gone", True)
    assert await streams.info("s") is None
    with pytest.raises(UnknownStream):
        await streams.delete("s")
    await write(rig, "s", 3)
    assert (await streams.info("s")).made != made
    assert await values(rig, "s") == [3]
    with pytest.raises(BadOffset, match="made anew"):
        await streams.read("s", 2)


async def test_a_time_to_live_begins_anew_with_each_touch(rig: Any) -> None:
    streams = rig.engine.streams
    await streams.create("s", StreamSpec(ttl=10.0))
    await streams.create("fixed", StreamSpec(expires_at=rig.clock.now() + 25.0))
    for _ in range(3):
        await rig.clock.advance(7.0)
        assert await streams.info("s", touch=True) is not None
    await streams.info("fixed", touch=True)
    await rig.clock.advance(7.0)
    assert await streams.info("s") is not None, "a look does not touch"
    assert await streams.info("fixed") is None
    await rig.clock.advance(4.0)
    assert await streams.info("s") is None
    assert (await streams.create("s", StreamSpec()))[1], "the name is free again"


async def test_a_fork_begins_with_its_source_and_lives_by_itself(rig: Any) -> None:
    streams = rig.engine.streams
    await write(rig, "source", 1, 2, 3)
    info, _ = await streams.create("fork", StreamSpec(source="source", source_offset=2))
    assert info.last == 2
    await write(rig, "fork", "own")
    await write(rig, "source", 4)
    assert await values(rig, "fork") == [1, 2, "own"]
    assert await values(rig, "source") == [1, 2, 3, 4]
    with pytest.raises(BadOffset):
        await streams.create("beyond", StreamSpec(source="source", source_offset=9))
    with pytest.raises(UnknownStream):
        await streams.create("lost", StreamSpec(source="nowhere"))


async def test_a_fork_may_begin_within_an_append(rig: Any) -> None:
    streams = rig.engine.streams
    await streams.create("bytes", StreamSpec(content_type=TEXT), Write(events=messages(b"first", b"second")))
    spec = StreamSpec(content_type=TEXT, source="bytes", source_offset=1, source_part=3)
    await streams.create("part", spec)
    assert await values(rig, "part") == [b"first", b"sec"]
    with pytest.raises(BadOffset):
        await streams.create("over", msgspec.structs.replace(spec, source_part=7))


async def test_a_source_is_hidden_until_its_last_fork_goes(rig: Any) -> None:
    streams = rig.engine.streams
    await write(rig, "a", 1)
    await streams.create("b", StreamSpec(source="a"))
    await streams.create("c", StreamSpec(source="b"))
    await streams.delete("a")
    await streams.delete("b")
    assert (await streams.info("a")).deleted
    with pytest.raises(StreamConflict):
        await streams.create("a", StreamSpec())
    with pytest.raises(StreamConflict):
        await streams.create("d", StreamSpec(source="a"))
    with pytest.raises(UnknownStream):
        await streams.read("a", 0)
    assert await values(rig, "c") == [1]
    await streams.delete("c")
    assert await streams.info("a") is None
    assert await streams.info("b") is None


async def test_a_stream_keeps_as_many_bytes_as_it_may(rig: Any) -> None:
    keep = Retention(events=10_000, bytes=10_000)
    for number in range(300):
        made = Write(events=messages(f"{number:04d}" * 25), spec=StreamSpec(retention=keep))
        await rig.engine.streams.write("s", made)
    batch = await rig.engine.streams.read("s", 0)
    assert 10_000 - 110 <= sum(len(event.data) for event in batch.events) <= 10_000 + 64 * 110
    assert batch.events[-1].offset == 300
    assert "10000 bytes" in batch.truncated


async def test_a_stream_keeps_events_as_long_as_it_may(rig: Any) -> None:
    spec = StreamSpec(retention=Retention(seconds=60.0))
    for number in range(4):
        await rig.engine.streams.write("s", Write(events=messages(number), spec=spec))
        await rig.clock.advance(30.0)
    batch = await rig.engine.streams.read("s", 0)
    assert [event.data for event in batch.events] == [3]
    assert "60 s" in batch.truncated
    await rig.clock.advance(90.0)
    batch = await rig.engine.streams.read("s", 0)
    assert (list(batch.events), batch.next) == ([], 4)
    assert batch.truncated


async def test_what_is_left_behind_a_page_is_told(rig: Any) -> None:
    await write(rig, "s", *range(5))
    assert (await rig.engine.streams.read("s", 0, most=3)).more
    assert not (await rig.engine.streams.read("s", 3, most=3)).more


async def test_a_jobs_stream_is_looked_at_like_any_other(rig: Any) -> None:
    job = await put(rig.engine)
    info = await rig.engine.streams.info(f"jobs/{job.id}")
    assert (info.last, info.ended) == (1, False)
    with pytest.raises(StreamError):
        await rig.engine.streams.delete(f"jobs/{job.id}")
