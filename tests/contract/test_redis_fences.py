"""Several clients look after the same claims: each claim is lost at most once, and never the one that follows it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis as plain

from headgate.base.clock import SystemClock
from headgate.base.model import Claim
from headgate.drivers.redis import RedisEngine
from headgate.drivers.redis.decide import Decisions
from headgate.drivers.redis.upkeep import Upkeep
from tests.support.contract import put, settle, take

pytestmark = pytest.mark.anyio


async def test_a_look_that_comes_second_leaves_the_next_claim_alone(redis: str) -> None:
    engine = RedisEngine(redis + "?namespace=second")
    await engine.open()
    caller = engine._redis
    assert caller._working is not None
    caller._working.cancel()  # this test looks itself
    await asyncio.gather(caller._working, return_exceptions=True)
    try:
        job = await put(engine)
        (old,) = await take(engine, "dead")
        next_claim: list[Claim] = []

        async def run(operation: str, arguments: Any, **more: Any) -> Any:
            if operation == "commit" and not next_claim:
                # Another client has seen the same, was first, and the job is held again.
                assert await Decisions(caller.run).lose({job.id: True}) == 1
                next_claim.extend(await take(engine, "alive"))
            return await caller.run(operation, arguments, **more)

        upkeep = Upkeep(
            run, Decisions(run), SystemClock(), lease=60, depth=9, member=None, outgoing=lambda carrier: None
        )
        await upkeep._look()  # the first after a while gives every holder a whole lease
        with plain.Redis.from_url(redis) as server:
            assert server.zadd(f"{caller.prefix}lease", {job.id: 1}, xx=True, ch=True) == 1
        await upkeep._look()
        assert [claim.job.id for claim in next_claim] == [job.id]
        held = await engine.jobs.get(job.id)
        assert held is not None
        assert (held.worker, held.losses) == ("alive", 1)
        assert not await settle(engine, old)
        assert await settle(engine, next_claim[0])
    finally:
        await engine.close()
