"""`headgate broker copy`: everything of an embedded broker is on the Redis afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from headgate.base.errors import ConfigError
from headgate.base.model import Cron, Failure, JobState, NewEvent, Outcome
from headgate.base.ports import Engine
from headgate.broker.server import Broker
from headgate.config.settings import Settings
from headgate.drivers.embedded.client import EmbeddedEngine
from headgate.drivers.local.store import Limits
from headgate.drivers.redis import RedisEngine
from headgate.roles.moving import copy
from tests.support.contract import Ordered, collect, put, settle, spec, take

pytestmark = pytest.mark.anyio


async def fill(engine: Engine) -> None:
    """Jobs in every state, with all that a job can have."""
    await put(engine, queue="done", tags=("t",), idempotency_key="once")
    (claim,) = await take(engine, queues=("done",))
    await engine.source.progress(claim.job.id, claim.job.epoch, [NewEvent("progress", {"done": 1})], b"\x07")
    await settle(engine, claim, result=msgspec.msgpack.encode({"n": 1}), cpu=0.5, peak_rss=7)
    await put(engine, queue="dead")
    await settle(
        engine, (await take(engine, queues=("dead",)))[0], Outcome.FAILED, failure=Failure("ValueError", "no", "tb")
    )
    cancelled = await put(engine, queue="gone")
    await engine.jobs.cancel(cancelled.id)
    await put(engine, queue="later", not_before=4_000_000_000.0)
    first = spec(queue="chain")
    await engine.sink.put([first, spec(queue="chain", after=(first.id,))])
    for priority in (0, 9):
        await put(engine, queue="waits", priority=priority, key="k")
    await put(engine, queue="runs")
    await take(engine, queues=("runs",))
    await engine.operations.set_queue("waits", slots=3)
    await engine.operations.set_crons("app", [Cron(name="m:tidy", expression="0 4 * * *", job=spec("m:tidy"))])
    await engine.streams.append("imports/7", [NewEvent("row", n) for n in range(5)])


@contextlib.asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[Engine]:
    """A broker that is stopped afterwards."""
    ready, stop = asyncio.Event(), Ordered()
    broker = asyncio.create_task(Broker(folder, Limits()).run(ready.set, stop))
    await asyncio.wait_for(ready.wait(), 10)
    engine = EmbeddedEngine(folder / "run" / "broker.sock")
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()
        stop.order()
        await asyncio.wait_for(broker, 10)


async def goes_on(target: Engine) -> None:
    """Order, keys, chains and idempotency hold for what was copied."""
    (claim,) = await take(target, most=5, queues=("waits",))
    assert claim.job.spec.priority == 9
    (claim,) = await take(target, most=5, queues=("chain",))
    await settle(target, claim)
    assert len(await take(target, queues=("chain",))) == 1
    (receipt,) = await target.sink.put([spec(queue="done", idempotency_key="once")])
    assert not receipt.created
    assert (await collect(target, f"jobs/{receipt.id}"))[-1].terminal


async def test_everything_is_there_afterwards(tmp_path: Path, redis_url: str) -> None:
    async with embedded(tmp_path) as source:
        await fill(source)
        before = [await source.jobs.get(one.id) for one in await source.jobs.find(most=1000)]
        events = {one.id: await source.streams.read(one.stream, 0) for one in before if one}
        crons = await source.operations.crons()
        with pytest.raises(ConfigError, match="another broker"):
            await asyncio.to_thread(copy, tmp_path / "broker.db", redis_url, Settings())

    command = [sys.executable, "-m", "headgate", "broker", "copy", str(tmp_path / "broker.db"), redis_url]
    told = (await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)).stdout
    assert "9 jobs" in told
    assert "1 streams" in " ".join(told.split())
    again = await asyncio.to_thread(copy, tmp_path / "broker.db", redis_url, Settings())
    assert (again.jobs, again.streams, again.known) == (0, 0, 10)

    target = RedisEngine(redis_url)
    await target.open()
    try:
        assert [one.id for one in await target.jobs.find(most=1000)] == [one.id for one in before if one]
        for old in before:
            assert old is not None
            new = await target.jobs.get(old.id)
            if old.state is JobState.RUNNING:
                assert new is not None
                assert (new.state, new.tries) == (JobState.QUEUED, 0)
                continue
            assert new == old
            assert (await target.streams.read(old.stream, 0)).events == events[old.id].events
        assert await target.operations.crons() == crons
        assert (await target.operations.queues())["waits"]["slots"] == 3
        assert [event.data for event in (await target.streams.read("imports/7", 0)).events] == list(range(5))
        await goes_on(target)
    finally:
        await target.close()
