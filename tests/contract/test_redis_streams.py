"""Streams of a Redis whose connection breaks when a request was carried out and not answered yet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from headgate.base.model import NewEvent
from headgate.base.streams import StreamSpec, Write
from headgate.drivers.redis import RedisEngine
from headgate.drivers.redis.streams import StreamKeeper
from tests.support.contract import LIMITS

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["redis", "redis_6_2"])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[RedisEngine]:
    made = RedisEngine(request.getfixturevalue(request.param) + "?namespace=repeated")
    await made.open()
    yield made
    await made.streams.delete("s")
    await made.close()


def twice(engine: RedisEngine) -> StreamKeeper:
    """Streams of which each answer is lost once: the request is asked for again."""

    async def run(operation: str, arguments: Any, **more: Any) -> Any:
        await engine._redis.run(operation, arguments, **more)
        return await engine._redis.run(operation, arguments, **more)

    return StreamKeeper(run, LIMITS)


async def test_a_stream_is_made_once_and_with_its_first_events(engine: RedisEngine) -> None:
    events = [NewEvent("row", n) for n in range(2)]
    info, new = await twice(engine).create("s", StreamSpec(), Write(events=events, close=True))
    assert (new, info.last, info.ended) == (True, 2, True)
    assert await engine.streams.info("s") == info
    assert [event.data for event in (await engine.streams.read("s", 0)).events] == [0, 1]
    assert not (await twice(engine).create("s", StreamSpec(), Write(events=events)))[1]


async def test_a_write_is_appended_once(engine: RedisEngine) -> None:
    asked = Write(events=[NewEvent("row", 1)], spec=StreamSpec())
    assert [(await twice(engine).write("s", asked)).last for _ in range(2)] == [1, 2]
