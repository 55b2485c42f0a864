"""`JobSink`: accepted once, all or none, within the depth."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headgate.base.errors import QueueFull
from headgate.base.model import JobState
from tests.support.contract import LIMITS, collect, kinds, put, settle, spec, take

pytestmark = pytest.mark.anyio


async def test_an_accepted_job_is_queued_and_says_so_in_its_stream(rig: Any) -> None:
    job = await put(rig.engine, queue="bulk", tags=("night",))
    record = await rig.engine.jobs.get(job.id)
    assert (record.state, record.spec, record.tries) == (JobState.QUEUED, job, 0)
    assert await kinds(rig.engine, job.id) == ["queued"]


async def test_a_repeated_put_changes_nothing(rig: Any) -> None:
    job = spec()
    first = await rig.engine.sink.put([job])
    assert await rig.engine.sink.put([job, job]) == [*first, *first]
    assert await rig.engine.jobs.stats() == {"default": {"queued": 1}}


async def test_an_idempotency_key_leads_to_the_first_job(rig: Any) -> None:
    first = await put(rig.engine, idempotency_key="import-7")
    (again,) = await rig.engine.sink.put([spec(idempotency_key="import-7")])
    assert (again.id, again.created) == (first.id, False)
    assert await rig.engine.jobs.stats() == {"default": {"queued": 1}}


async def test_an_idempotency_key_twice_in_one_put_is_one_job(rig: Any) -> None:
    one, two = await rig.engine.sink.put([spec(idempotency_key="k"), spec(idempotency_key="k")])
    assert one.id == two.id
    assert (one.created, two.created) == (True, False)


async def test_an_idempotency_key_outlives_the_run_and_ends_with_the_record(rig: Any) -> None:
    first = await put(rig.engine, idempotency_key="k", result_ttl=60.0)
    await settle(rig.engine, (await take(rig.engine))[0])
    (again,) = await rig.engine.sink.put([spec(idempotency_key="k")])
    assert again.id == first.id
    await rig.clock.advance(62)
    (fresh,) = await rig.engine.sink.put([spec(idempotency_key="k")])
    assert fresh.created


async def test_a_full_queue_refuses_the_whole_put(rig: Any) -> None:
    await rig.engine.sink.put([spec() for _ in range(LIMITS.queue_depth - 1)])
    with pytest.raises(QueueFull, match="may hold 50") as refused:
        await rig.engine.sink.put([spec(), spec()])
    assert refused.value.retry_after > 0
    await put(rig.engine)
    await put(rig.engine, queue="other")
    stats = await rig.engine.jobs.stats()
    assert stats["default"]["queued"] == LIMITS.queue_depth


async def test_running_jobs_do_not_fill_a_queue(rig: Any) -> None:
    await rig.engine.sink.put([spec() for _ in range(LIMITS.queue_depth)])
    await take(rig.engine, most=1)
    await put(rig.engine)


async def test_depth_can_be_set_for_one_queue(rig: Any) -> None:
    await rig.engine.operations.set_queue("narrow", depth=1)
    await put(rig.engine, queue="narrow")
    with pytest.raises(QueueFull):
        await put(rig.engine, queue="narrow")


async def test_many_at_once_keep_their_order(rig: Any) -> None:
    jobs = [spec() for _ in range(20)]
    await rig.engine.sink.put(jobs)
    claims = await take(rig.engine, most=20)
    assert [claim.job.id for claim in claims] == [job.id for job in jobs]


async def test_concurrent_puts_are_all_accepted(rig: Any) -> None:
    jobs = [spec() for _ in range(40)]
    await asyncio.gather(*(rig.engine.sink.put([job]) for job in jobs))
    claims = await take(rig.engine, most=64)
    assert {claim.job.id for claim in claims} == {job.id for job in jobs}


async def test_a_job_waits_for_its_time(rig: Any) -> None:
    job = await put(rig.engine, not_before=rig.clock.now() + 30.5)
    assert (await rig.engine.jobs.get(job.id)).state is JobState.SCHEDULED
    waiting = asyncio.ensure_future(take(rig.engine))
    await rig.clock.advance(30.4)
    assert not waiting.done()
    await rig.clock.advance(0.2)
    (claim,) = await asyncio.wait_for(waiting, 10)
    assert claim.job.id == job.id


async def test_a_time_that_is_past_means_now(rig: Any) -> None:
    job = await put(rig.engine, not_before=rig.clock.now() - 5)
    assert (await rig.engine.jobs.get(job.id)).state is JobState.QUEUED


async def test_a_wall_clock_that_steps_forward_brings_the_job(rig: Any) -> None:
    await put(rig.engine, not_before=rig.clock.now() + 3600)
    waiting = asyncio.ensure_future(take(rig.engine))
    await asyncio.sleep(0)
    rig.clock.step(3601)
    await rig.clock.advance(1.5)
    assert len(await asyncio.wait_for(waiting, 10)) == 1


async def test_a_job_is_not_started_after_its_deadline(rig: Any) -> None:
    job = await put(rig.engine, deadline=rig.clock.now() + 10)
    await rig.clock.advance(12)
    events = await asyncio.wait_for(collect(rig.engine, f"jobs/{job.id}"), 10)
    assert events[-1].kind == "failed"
    assert events[-1].data["type"] == "DeadlinePassed"
    record = await rig.engine.jobs.get(job.id)
    assert (record.state, record.tries) == (JobState.FAILED, 0)


async def test_a_deadline_does_not_touch_a_running_job(rig: Any) -> None:
    await put(rig.engine, deadline=rig.clock.now() + 10)
    (claim,) = await take(rig.engine)
    await rig.clock.advance(12)
    assert await settle(rig.engine, claim)
