"""`Jobs` and `Operations`: what views and operators ask."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.base.errors import ConfigError, UnknownJob, WrongState
from headgate.base.model import JobState, Outcome, new_id
from tests.support.contract import collect, kinds, put, said, settle, spec, take

pytestmark = pytest.mark.anyio


async def test_an_unknown_job(rig: Any) -> None:
    assert await rig.engine.jobs.get(new_id()) is None
    for call in (rig.engine.jobs.cancel, rig.engine.jobs.retry):
        with pytest.raises(UnknownJob, match="time to live"):
            await call(new_id())


async def test_find_newest_first_in_pages(rig: Any) -> None:
    ids = [(await put(rig.engine)).id for _ in range(7)]
    first = await rig.engine.jobs.find(most=4)
    second = await rig.engine.jobs.find(most=4, after=first[-1].id)
    assert [record.id for record in (*first, *second)] == ids[::-1]


async def test_find_by_state_queue_tag_and_function(rig: Any) -> None:
    a = await put(rig.engine, queue="a", tags=("night", "eu"))
    b = await put(rig.engine, queue="b", tags=("night",), function="shop:import")
    c = await put(rig.engine, queue="b")
    await settle(rig.engine, (await take(rig.engine, queues=("a",)))[0], Outcome.FAILED)

    async def found(**wanted: Any) -> list[str]:
        return [record.id for record in await rig.engine.jobs.find(**wanted)]

    assert await found(states=[JobState.FAILED]) == [a.id]
    assert await found(states=[JobState.QUEUED, JobState.FAILED]) == [c.id, b.id, a.id]
    assert await found(queue="b") == [c.id, b.id]
    assert await found(tag="night") == [b.id, a.id]
    assert await found(tag="night", function="shop:import", states=[JobState.QUEUED]) == [b.id]
    assert await found(tag="nigh") == []


async def test_an_ended_job_cannot_be_cancelled_nor_a_waiting_one_retried(rig: Any) -> None:
    job = await put(rig.engine)
    with pytest.raises(WrongState, match="is queued"):
        await rig.engine.jobs.retry(job.id)
    await settle(rig.engine, (await take(rig.engine))[0])
    with pytest.raises(WrongState, match="succeeded"):
        await rig.engine.jobs.cancel(job.id)


async def test_a_dead_letter_is_put_back_with_its_counts_anew(rig: Any) -> None:
    job = await put(rig.engine)
    await settle(rig.engine, (await take(rig.engine))[0], Outcome.FAILED)
    assert await rig.engine.jobs.retry(job.id) is JobState.QUEUED
    (claim,) = await take(rig.engine)
    assert (claim.job.tries, claim.job.failures, claim.job.failure) == (1, 0, None)
    await settle(rig.engine, claim)
    assert await kinds(rig.engine, job.id) == ["queued", "started", "failed", "queued", "started", "result"]
    # Its stream has one end, and it is the last event.
    events = await collect(rig.engine, f"jobs/{job.id}")
    assert [event.terminal for event in events] == [False] * 5 + [True]


async def test_a_cancelled_job_is_put_back(rig: Any) -> None:
    job = await put(rig.engine)
    await take(rig.engine)
    await rig.engine.jobs.cancel(job.id)
    await rig.engine.source.abandon("w1")
    assert await rig.engine.jobs.retry(job.id) is JobState.QUEUED
    (claim,) = await take(rig.engine)
    assert not claim.job.cancel_requested
    assert await rig.engine.source.renew("w1", {job.id: claim.job.epoch}) == {}


async def test_a_finished_job_is_kept_for_its_time(rig: Any) -> None:
    job = await put(rig.engine, result_ttl=100.0, tags=("t",))
    await settle(rig.engine, (await take(rig.engine))[0])
    await rig.clock.advance(98)
    assert await rig.engine.jobs.get(job.id) is not None
    await rig.clock.advance(4)
    assert await rig.engine.jobs.get(job.id) is None
    assert list(await rig.engine.jobs.find(tag="t")) == []
    assert await rig.engine.jobs.stats() == {}


async def test_stats_count_by_queue_and_state(rig: Any) -> None:
    for queue in ("a", "a", "a", "b"):
        await put(rig.engine, queue=queue)
    claims = await take(rig.engine, most=2, queues=("a",))
    await settle(rig.engine, claims[0])
    assert await rig.engine.jobs.stats() == {"a": {"queued": 1, "running": 1, "succeeded": 1}, "b": {"queued": 1}}


async def test_purge_forgets_ended_jobs_only(rig: Any) -> None:
    done, dead, waiting = [await put(rig.engine) for _ in range(3)]
    claims = await take(rig.engine, most=2)
    await settle(rig.engine, claims[0])
    await settle(rig.engine, claims[1], Outcome.FAILED)
    states = [JobState.FAILED, JobState.QUEUED]
    assert await rig.engine.operations.purge(states, older=60) == 0
    await rig.clock.advance(61)
    assert await rig.engine.operations.purge(states, queue="other") == 0
    assert await rig.engine.operations.purge(states, older=60) == 1
    left = {record.id for record in await rig.engine.jobs.find()}
    assert left == {done.id, waiting.id}
    assert dead.id not in left


async def test_purge_finds_few_among_many(rig: Any) -> None:
    for queue, count in [*[("many", 40)] * 28, ("few", 2)]:
        await rig.engine.sink.put([spec(queue=queue) for _ in range(count)])
        claims = await take(rig.engine, most=count)
        assert len(claims) == count
        await rig.engine.source.settle("w1", [said(claim, Outcome.SUCCEEDED) for claim in claims])
    await rig.clock.advance(1)
    assert await rig.engine.operations.purge([JobState.SUCCEEDED], queue="few") == 2
    assert await rig.engine.operations.purge([JobState.SUCCEEDED], most=1_100) == 1_100
    assert await rig.engine.operations.purge([JobState.SUCCEEDED]) == 20
    assert not await rig.engine.jobs.find()


async def test_queue_rules_are_checked(rig: Any) -> None:
    with pytest.raises(ConfigError, match="no rule 'pause'"):
        await rig.engine.operations.set_queue("a", pause=True)
    with pytest.raises(ConfigError, match="slots"):
        await rig.engine.operations.set_queue("a", slots="many")
    with pytest.raises(ConfigError, match="above 0"):
        await rig.engine.operations.set_queue("a", weight=0.0)
    await rig.engine.operations.set_queue("a", slots=3)
    await rig.engine.operations.set_queue("a", rate=1.5)
    rules = (await rig.engine.operations.queues())["a"]
    assert (rules["slots"], rules["rate"], rules["paused"]) == (3, 1.5, False)
