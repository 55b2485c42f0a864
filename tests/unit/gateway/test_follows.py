from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, cast

import pytest

from headgate.base.errors import BadOffset, Unavailable, UnknownStream
from headgate.base.model import Batch, Event, NewEvent
from headgate.base.ports import Streams
from headgate.gateway.follows import Follows, Told, encode

pytestmark = pytest.mark.anyio


class FakeStreams:
    """One stream in memory, whose engine can be cut."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.news = asyncio.Condition()
        self.cuts = 0
        self.follows = 0
        self.unknown = False
        self.away = 0
        """Reads that fail."""
        self.reads = asyncio.Event()
        self.reads.set()

    async def append(self, stream: str, events: Sequence[NewEvent]) -> int:
        async with self.news:
            for one in events:
                self.events.append(Event(len(self.events) + 1, one.kind, one.data, 0.0, one.terminal))
            self.news.notify_all()
        return len(self.events)

    async def read(self, stream: str, after: int, most: int = 1000) -> Batch:
        if self.unknown:
            raise UnknownStream("no such stream")
        await self.reads.wait()
        await asyncio.sleep(0)
        if self.away:
            self.away -= 1
            raise Unavailable("the engine is away")
        if after > len(self.events):
            raise BadOffset(f"stream {stream} ends at {len(self.events)}")
        found = [event for event in self.events if event.offset > after][:3]
        return Batch(found, found[-1].offset if found else after)

    async def follow(self, stream: str, after: int) -> AsyncIterator[Event]:
        self.follows += 1
        if self.unknown:
            raise UnknownStream("no such stream")
        cuts = self.cuts
        while True:
            for event in self.events[after:]:
                after = event.offset
                yield event
                if event.terminal:
                    return
            async with self.news:
                while len(self.events) <= after and self.cuts == cuts:
                    await self.news.wait()
            if self.cuts != cuts:
                raise Unavailable("the engine is away")

    async def cut(self) -> None:
        async with self.news:
            self.cuts += 1
            self.news.notify_all()


class Reader:
    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.room: asyncio.Future[None] | None = None

    def event(self, told: Told) -> None:
        self.got.append(json.loads(told.frame[told.frame.index(b"{") :]))

    def behind(self) -> Awaitable[None] | None:
        return self.room

    @property
    def offsets(self) -> list[int]:
        return [int(one["offset"]) for one in self.got]

    @property
    def ended(self) -> bool:
        return bool(self.got and self.got[-1].get("terminal"))


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def new_follows(streams: FakeStreams) -> Follows:
    port = cast(Streams, streams)  # only the calls that follows make are there
    return Follows(lambda: port, sleep=lambda _: asyncio.sleep(0))


async def test_many_followers_cost_one_and_each_gets_all_after_its_offset() -> None:
    streams = FakeStreams()
    follows = new_follows(streams)
    await streams.append("s", [NewEvent("progress", {"done": n}) for n in range(10)])
    first, second, third = Reader(), Reader(), Reader()
    follows.follow(first, "s", 0)
    await settle()
    follows.follow(second, "s", 4)
    follows.follow(third, "s", 10)
    await settle()
    await streams.append("s", [NewEvent("log", "x"), NewEvent("result", {"result": 1}, terminal=True)])
    await settle()
    assert first.offsets == list(range(1, 13))
    assert second.offsets == list(range(5, 13))
    assert third.offsets == [11, 12]
    assert all(reader.ended for reader in (first, second, third))
    assert streams.follows == 1
    assert len(follows) == 0


async def test_a_late_follower_of_a_moving_stream_misses_and_repeats_nothing() -> None:
    streams = FakeStreams()
    follows = new_follows(streams)
    follows.follow(Reader(), "s", 0)
    late: list[Reader] = []
    for number in range(200):
        await streams.append("s", [NewEvent("log", number)])
        if number % 20 == 7:
            late.append(Reader())
            follows.follow(late[-1], "s", 0)
        await asyncio.sleep(0)
    await streams.append("s", [NewEvent("result", None, terminal=True)])
    for _ in range(20):
        await settle()
    assert [reader.offsets for reader in late] == [list(range(1, 202))] * len(late)


async def test_following_again_in_the_middle_of_catching_up_forgets_only_the_first() -> None:
    """The end of the first catching up comes after the second has begun, and must not be taken for its end."""
    streams = FakeStreams()
    follows = new_follows(streams)
    await streams.append("s", [NewEvent("log", number) for number in range(60)])
    follows.follow(Reader(), "s", 0)
    for _ in range(20):
        await settle()
    again = Reader()
    follows.follow(again, "s", 0)
    await asyncio.sleep(0)
    follows.follow(again, "s", 30)
    await asyncio.sleep(0)  # the cancelled one ends here
    await asyncio.sleep(0)
    assert list(follows._late) == [(again, "s")], "the second can still be given up"
    begun = len(again.got)
    follows.unfollow(again, "s")
    for _ in range(20):
        await settle()
    await streams.append("s", [NewEvent("result", None, terminal=True)])
    await settle()
    assert len(again.got) == begun, "and was"


async def test_an_engine_that_goes_away_leaves_no_gap() -> None:
    streams = FakeStreams()
    follows = new_follows(streams)
    reader = Reader()
    follows.follow(reader, "s", 0)
    for number in range(20):
        await streams.append("s", [NewEvent("log", number)])
        if number % 5 == 0:
            await streams.cut()
        await settle()
    await streams.append("s", [NewEvent("failed", {"type": "E", "message": "m", "traceback": "secret"}, terminal=True)])
    await settle()
    assert reader.offsets == list(range(1, 22))
    assert reader.got[-1]["data"] == {"type": "E", "message": "m"}
    assert streams.follows >= 4


async def test_who_falls_behind_reads_the_log_and_gets_everything_once() -> None:
    streams = FakeStreams()
    follows = new_follows(streams)
    slow, quick = Reader(), Reader()
    follows.follow(slow, "s", 0)
    follows.follow(quick, "s", 0)
    await streams.append("s", [NewEvent("log", 1)])
    await settle()
    slow.room = asyncio.get_running_loop().create_future()
    await streams.append("s", [NewEvent("log", number) for number in range(2, 30)])
    await settle()
    assert (slow.offsets, quick.offsets) == ([1], list(range(1, 30))), "one is waited for, the other is not held up"
    await streams.append("s", [NewEvent("progress", {})])
    await settle()
    assert slow.offsets == [1], "what is behind stays in order"
    room, slow.room = slow.room, None
    room.set_result(None)
    for _ in range(10):
        await settle()
    await streams.append("s", [NewEvent("result", None, terminal=True)])
    await settle()
    assert slow.offsets == quick.offsets == list(range(1, 32))
    assert len(follows) == 0


async def test_progress_does_not_part_a_slow_one_from_the_others() -> None:
    streams = FakeStreams()
    follows = new_follows(streams)
    slow = Reader()
    follows.follow(slow, "s", 0)
    await settle()
    slow.room = asyncio.get_running_loop().create_future()
    await streams.append("s", [NewEvent("progress", {"done": number}) for number in range(5)])
    await settle()
    assert slow.offsets == [1, 2, 3, 4, 5], "its outbox keeps the newest"


async def test_an_unknown_stream_ends_with_a_word() -> None:
    streams = FakeStreams()
    streams.unknown = True
    follows = new_follows(streams)
    reader = Reader()
    follows.follow(reader, "s", 0)
    await settle()
    assert [one["event"] for one in reader.got] == ["gone"]
    assert reader.ended


async def test_nobody_left_ends_the_following() -> None:
    streams = FakeStreams()
    follows = new_follows(streams)
    reader = Reader()
    follows.follow(reader, "s", 0)
    await settle()
    follows.unfollow(reader, "s")
    assert len(follows) == 0
    await streams.append("s", [NewEvent("log", 1)])
    await settle()
    assert reader.got == []
    await follows.close()


def test_a_traceback_that_a_job_logs_stays_here() -> None:
    said = {"level": "error", "message": "m", "traceback": "secret"}
    frame = encode("jobs/1", Event(3, "log", said, 0.0))
    assert b"secret" not in frame
    assert b'"message":"m"' in frame


async def test_an_offset_from_before_the_stream_was_made_anew_is_refused_to_one_who_joins_others() -> None:
    streams = FakeStreams()
    follows = new_follows(streams)
    await streams.append("s", [NewEvent("log", number) for number in range(3)])
    first, ahead = Reader(), Reader()
    follows.follow(first, "s", 0)
    await settle()
    streams.away = 2  # what is only interrupted is tried again
    follows.follow(ahead, "s", 500)
    await settle()
    assert [(one["event"], one["offset"]) for one in ahead.got] == [("gone", f"{500:016d}")]
    assert ahead.ended
    assert "ends at 3" in ahead.got[0]["data"]["reason"]
    await streams.append("s", [NewEvent("result", None, terminal=True)])
    await settle()
    assert first.offsets == [1, 2, 3, 4], "the others go on"
    assert len(ahead.got) == 1, "and nothing follows an end"
    assert not follows._checks


async def test_one_who_is_ahead_of_the_others_and_of_nothing_else_stays() -> None:
    streams = FakeStreams()
    follows = new_follows(streams)
    await streams.append("s", [NewEvent("log", number) for number in range(3)])
    follows.follow(Reader(), "s", 0)
    ahead = Reader()
    follows.follow(ahead, "s", 2)  # before the shared follower has read anything
    await settle()
    await streams.append("s", [NewEvent("result", None, terminal=True)])
    await settle()
    assert ahead.offsets == [3, 4]


async def test_a_stream_that_ends_while_an_offset_is_looked_for_ends_once() -> None:
    streams = FakeStreams()
    follows = new_follows(streams)
    first, ahead = Reader(), Reader()
    follows.follow(first, "s", 0)
    await settle()
    streams.reads.clear()
    follows.follow(ahead, "s", 1)
    await settle()
    await streams.append("s", [NewEvent("log", 1), NewEvent("result", None, terminal=True)])
    await settle()
    streams.events.clear()
    streams.reads.set()
    await settle()
    assert ahead.offsets == [2]


async def test_who_leaves_is_not_told_of_a_wrong_offset() -> None:
    streams = FakeStreams()
    follows = new_follows(streams)
    stays, leaves, closes = Reader(), Reader(), Reader()
    follows.follow(stays, "s", 0)
    await settle()
    streams.reads.clear()
    follows.follow(leaves, "s", 9)
    follows.follow(closes, "s", 9)
    await settle()
    follows.unfollow(leaves, "s")
    assert list(follows._checks) == [(closes, "s")]
    await follows.close()
    streams.reads.set()
    await settle()
    assert leaves.got == closes.got == []
    assert not follows._checks


async def test_the_last_follower_that_is_cut_by_an_event_ends_the_following() -> None:
    class Overflows(Reader):
        def event(self, told: Told) -> None:
            super().event(told)
            follows.unfollow(self, "s")

    streams = FakeStreams()
    follows = new_follows(streams)
    reader = Overflows()
    follows.follow(reader, "s", 0)
    await settle()
    (followed,) = follows._followed.values()
    await streams.append("s", [NewEvent("log", 1)])
    await settle()
    assert reader.offsets == [1]
    assert len(follows) == 0
    assert followed.task is not None
    assert followed.task.done(), "nothing is asked of the engine any more"
