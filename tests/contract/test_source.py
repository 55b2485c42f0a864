"""`JobSource`: order, leases, the fence, retries, what becomes of a dead worker's jobs."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from headgate.base.errors import LeaseLost
from headgate.base.lifecycle import LOSSES_ALLOWED
from headgate.base.model import Backoff, JobState, NewEvent, Outcome
from tests.support.contract import collect, eventually, kinds, nothing_to_take, put, said, settle, spec, take

pytestmark = pytest.mark.anyio


async def test_a_take_waits_for_a_job(rig: Any) -> None:
    waiting = asyncio.ensure_future(take(rig.engine))
    await rig.engine.jobs.stats()
    assert not waiting.done()
    job = await put(rig.engine)
    (claim,) = await asyncio.wait_for(waiting, 10)
    assert (claim.job.id, claim.job.tries, claim.job.epoch, claim.job.worker) == (job.id, 1, 1, "w1")
    assert claim.job.state is JobState.RUNNING
    assert claim.lease == 15.0


async def test_a_cancelled_take_claims_nothing(rig: Any) -> None:
    waiting = asyncio.ensure_future(take(rig.engine))
    await rig.engine.jobs.stats()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    job = await put(rig.engine)

    async def is_queued() -> bool:
        record = await rig.engine.jobs.get(job.id)
        return record is not None and record.state is JobState.QUEUED and record.tries == 0

    await eventually(is_queued, "the job is back")
    assert len(await take(rig.engine)) == 1


async def test_a_take_cancelled_while_its_claim_is_on_the_way_gives_it_back(rig: Any) -> None:
    job = await put(rig.engine)
    waiting = asyncio.ensure_future(take(rig.engine))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    (claim,) = await take(rig.engine, "w2")
    assert claim.job.id == job.id
    assert claim.job.tries == 1


async def test_higher_priority_first_then_order(rig: Any) -> None:
    low, high, high2 = [await put(rig.engine, priority=p) for p in (0, 5, 5)]
    claims = await take(rig.engine, most=3)
    assert [claim.job.id for claim in claims] == [high.id, high2.id, low.id]


async def test_priority_holds_across_queues(rig: Any) -> None:
    low = await put(rig.engine, queue="a", priority=0)
    high = await put(rig.engine, queue="b", priority=1)
    assert [claim.job.id for claim in await take(rig.engine, most=2)] == [high.id, low.id]


async def test_a_worker_takes_only_from_its_queues(rig: Any) -> None:
    await put(rig.engine, queue="a")
    b = await put(rig.engine, queue="b")
    assert [claim.job.id for claim in await take(rig.engine, queues=("b", "c"))] == [b.id]
    assert await nothing_to_take(rig.engine, queues=("b", "c"))


async def test_a_worker_takes_only_functions_that_it_knows(rig: Any) -> None:
    await put(rig.engine, function="m:new")
    old = await put(rig.engine, function="m:old")
    (claim,) = await asyncio.wait_for(rig.engine.source.take("w1", ["*"], 5, ["m:old"]), 10)
    assert claim.job.id == old.id


async def test_what_there_is_is_shared_among_waiting_workers(rig: Any) -> None:
    takes = [asyncio.ensure_future(take(rig.engine, f"w{n}", most=64)) for n in range(4)]
    await rig.engine.jobs.stats()
    await rig.engine.sink.put([spec() for _ in range(8)])
    claims = await asyncio.wait_for(asyncio.gather(*takes), 10)
    assert [len(got) for got in claims] == [2, 2, 2, 2]


async def test_success_stores_the_result_and_ends_the_stream(rig: Any) -> None:
    job = await put(rig.engine)
    (claim,) = await take(rig.engine)
    result = msgspec.msgpack.encode({"updated": 3})
    assert await settle(rig.engine, claim, result=result, cpu=0.5, peak_rss=1000)
    record = await rig.engine.jobs.get(job.id)
    assert (record.state, record.result, record.cpu, record.peak_rss) == (JobState.SUCCEEDED, result, 0.5, 1000)
    batch = await rig.engine.streams.read(record.stream, 0)
    assert [event.kind for event in batch.events] == ["queued", "started", "result"]
    assert batch.events[-1].data == {"result": {"updated": 3}}
    assert batch.events[-1].terminal
    assert batch.ended


async def test_a_failure_without_retries_is_a_dead_letter(rig: Any) -> None:
    job = await put(rig.engine)
    await settle(rig.engine, (await take(rig.engine))[0], Outcome.FAILED)
    record = await rig.engine.jobs.get(job.id)
    assert (record.state, record.failures) == (JobState.FAILED, 1)
    assert record.failure.traceback == "Traceback …"
    event = (await rig.engine.streams.read(record.stream, 0)).events[-1]
    assert event.data == {"type": "ValueError", "message": "no such table"}
    assert event.terminal


async def test_a_failure_is_retried_after_its_back_off(rig: Any) -> None:
    backoff = Backoff(first=10.0, factor=3.0, most=20.0, jitter=0.0)
    job = await put(rig.engine, retries=3, backoff=backoff)
    for wait in (10.0, 20.0, 20.0):
        (claim,) = await take(rig.engine)
        await settle(rig.engine, claim, Outcome.FAILED)
        assert (await rig.engine.jobs.get(job.id)).state is JobState.SCHEDULED
        await rig.clock.advance(wait - 0.1)
        assert (await rig.engine.jobs.get(job.id)).state is JobState.SCHEDULED
        await rig.clock.advance(0.2)
    (claim,) = await take(rig.engine)
    assert claim.job.tries == 4
    await settle(rig.engine, claim, Outcome.FAILED)
    assert (await rig.engine.jobs.get(job.id)).state is JobState.FAILED
    assert (await kinds(rig.engine, job.id)).count("retrying") == 3


async def test_jitter_spreads_the_back_off(rig: Any) -> None:
    jobs = [await put(rig.engine, retries=1, backoff=Backoff(first=100.0, jitter=0.5)) for _ in range(30)]
    for claim in await take(rig.engine, most=30):
        await settle(rig.engine, claim, Outcome.FAILED)
    waits = [(await rig.engine.streams.read(f"jobs/{job.id}", 0)).events[-1].data["in"] for job in jobs]
    assert all(50 <= wait <= 150 for wait in waits)
    assert len(set(waits)) > 20


async def test_giving_up_ends_it_though_tries_remain(rig: Any) -> None:
    job = await put(rig.engine, retries=5)
    await settle(rig.engine, (await take(rig.engine))[0], Outcome.GIVE_UP)
    assert (await rig.engine.jobs.get(job.id)).state is JobState.FAILED


async def test_a_retry_that_the_job_asks_for_is_no_failure(rig: Any) -> None:
    job = await put(rig.engine)
    await settle(rig.engine, (await take(rig.engine))[0], Outcome.RETRY, delay=30.0)
    await rig.clock.advance(31)
    (claim,) = await take(rig.engine)
    assert (claim.job.id, claim.job.tries, claim.job.failures) == (job.id, 2, 0)


async def test_a_released_job_has_not_been_tried(rig: Any) -> None:
    await put(rig.engine)
    await settle(rig.engine, (await take(rig.engine))[0], Outcome.RELEASED)
    (claim,) = await take(rig.engine, "w2")
    assert (claim.job.tries, claim.job.epoch) == (1, 2)


async def test_a_settlement_may_be_repeated(rig: Any) -> None:
    job = await put(rig.engine)
    (claim,) = await take(rig.engine)
    assert await settle(rig.engine, claim)
    assert await settle(rig.engine, claim)
    assert await kinds(rig.engine, job.id) == ["queued", "started", "result"]


async def test_the_fence_refuses_whoever_lost_the_lease(rig: Any) -> None:
    job = await put(rig.engine)
    (old,) = await take(rig.engine, "w1")
    await rig.clock.advance(16.5)
    (new,) = await take(rig.engine, "w2")
    assert new.job.epoch > old.job.epoch
    assert not await settle(rig.engine, old)
    with pytest.raises(LeaseLost):
        await rig.engine.source.progress(job.id, old.job.epoch, [NewEvent("progress", {"done": 1})])
    assert await rig.engine.source.renew("w1", {job.id: old.job.epoch}) == {job.id: "lost"}
    assert await settle(rig.engine, new)


async def test_a_renewed_lease_lasts(rig: Any) -> None:
    job = await put(rig.engine)
    (claim,) = await take(rig.engine)
    for _ in range(6):
        await rig.clock.advance(10)
        assert await rig.engine.source.renew("w1", {job.id: claim.job.epoch}) == {}
    assert await settle(rig.engine, claim)


async def test_a_stepped_wall_clock_ends_no_lease(rig: Any) -> None:
    await put(rig.engine)
    (claim,) = await take(rig.engine)
    rig.clock.step(3600)
    await rig.clock.advance(5)
    rig.clock.step(-7200)
    await rig.clock.advance(5)
    assert await settle(rig.engine, claim)


async def test_a_dead_workers_jobs_are_queued_again_at_once(rig: Any) -> None:
    first, second = await put(rig.engine), await put(rig.engine)
    await take(rig.engine, "w1", most=2)
    assert await rig.engine.source.abandon("w1") == 2
    claims = await take(rig.engine, "w2", most=2)
    assert [claim.job.id for claim in claims] == [first.id, second.id]
    # The one that ran has used a try and a loss; the one that was leased ahead has used nothing.
    assert [(claim.job.tries, claim.job.losses) for claim in claims] == [(2, 1), (1, 0)]
    assert await rig.engine.source.abandon("w1") == 0


async def test_a_job_that_kills_every_worker_ends_in_the_dead_letters(rig: Any) -> None:
    job = await put(rig.engine)
    for n in range(LOSSES_ALLOWED + 1):
        await take(rig.engine, f"w{n}")
        await rig.engine.source.abandon(f"w{n}")
    record = await rig.engine.jobs.get(job.id)
    assert (record.state, record.failure.type) == (JobState.FAILED, "WorkerLost")
    assert await nothing_to_take(rig.engine)


async def test_of_a_key_only_so_many_run_at_once(rig: Any) -> None:
    jobs = [await put(rig.engine, key="table:orders", limit=2) for _ in range(5)]
    other = await put(rig.engine, key="table:items")
    claims = await take(rig.engine, most=10)
    assert [claim.job.id for claim in claims] == [jobs[0].id, jobs[1].id, other.id]
    await settle(rig.engine, claims[1])
    (third,) = await take(rig.engine, most=10)
    assert third.job.id == jobs[2].id
    await rig.engine.source.abandon("w1")
    again = await take(rig.engine, "w2", most=10)
    assert {claim.job.id for claim in again} == {jobs[0].id, jobs[2].id, other.id}


async def test_within_a_key_the_higher_priority_goes_first(rig: Any) -> None:
    await put(rig.engine, key="k", priority=0)
    high = await put(rig.engine, key="k", priority=9)
    (claim,) = await take(rig.engine, most=2)
    assert claim.job.id == high.id


async def test_a_cancelled_or_failed_job_frees_its_key(rig: Any) -> None:
    first, second, third = [await put(rig.engine, key="k") for _ in range(3)]
    await rig.engine.jobs.cancel(first.id)
    (claim,) = await take(rig.engine)
    assert claim.job.id == second.id
    await settle(rig.engine, claim, Outcome.FAILED)
    (claim,) = await take(rig.engine)
    assert claim.job.id == third.id


async def test_a_retried_job_does_not_hold_its_key_while_it_waits(rig: Any) -> None:
    first = await put(rig.engine, key="k", retries=1, backoff=Backoff(first=60.0))
    second = await put(rig.engine, key="k")
    (claim,) = await take(rig.engine)
    assert claim.job.id == first.id
    await settle(rig.engine, claim, Outcome.FAILED)
    (claim,) = await take(rig.engine)
    assert claim.job.id == second.id


async def test_a_paused_queue_gives_nothing_until_it_is_resumed(rig: Any) -> None:
    await rig.engine.operations.set_queue("default", paused=True)
    await put(rig.engine)
    waiting = asyncio.ensure_future(take(rig.engine))
    await rig.engine.jobs.stats()
    assert not waiting.done()
    rules = await rig.engine.operations.set_queue("default", paused=False)
    assert rules["paused"] is False
    assert len(await asyncio.wait_for(waiting, 10)) == 1


async def test_a_queue_has_so_many_slots(rig: Any) -> None:
    await rig.engine.operations.set_queue("default", slots=2)
    await rig.engine.sink.put([spec() for _ in range(4)])
    claims = await take(rig.engine, most=4)
    assert len(claims) == 2
    assert await nothing_to_take(rig.engine)
    waiting = asyncio.ensure_future(take(rig.engine, "w2"))
    await settle(rig.engine, claims[0])
    assert len(await asyncio.wait_for(waiting, 10)) == 1


async def test_a_queue_starts_so_many_per_second(rig: Any) -> None:
    await rig.engine.operations.set_queue("default", rate=2.0)
    await rig.engine.sink.put([spec() for _ in range(20)])
    taken = 0

    async def work() -> None:
        nonlocal taken
        while True:
            taken += len(await rig.engine.source.take("w1", ["*"], 5))

    working = asyncio.ensure_future(work())
    for _ in range(5):
        await rig.clock.advance(1.0)
        await rig.engine.jobs.stats()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert 8 <= taken <= 12


async def test_queues_share_by_weight_and_not_by_who_came_first(rig: Any) -> None:
    await rig.engine.operations.set_queue("reports", weight=3.0)
    for queue in ("mail", "reports"):
        await rig.engine.sink.put([spec(queue=queue) for _ in range(40)])
    order = [(await take(rig.engine))[0].job.spec.queue for _ in range(24)]
    assert 16 <= order.count("reports") <= 20
    # A queue without a rule has the weight 1 and is not starved at any time.
    assert all("mail" in order[at : at + 6] for at in range(18))
    urgent = await put(rig.engine, queue="mail", priority=1)
    assert (await take(rig.engine))[0].job.id == urgent.id


async def test_progress_and_checkpoint_are_kept_across_tries(rig: Any) -> None:
    job = await put(rig.engine, retries=1, backoff=Backoff(first=0.0))
    (claim,) = await take(rig.engine)
    events = [NewEvent("log", {"message": "half way"}), NewEvent("progress", {"done": 5, "total": 10})]
    await rig.engine.source.progress(job.id, claim.job.epoch, events, b"position 5")
    await settle(rig.engine, claim, Outcome.FAILED)
    (claim,) = await take(rig.engine)
    assert claim.job.checkpoint == b"position 5"
    assert claim.job.progress == {"done": 5, "total": 10}
    assert await kinds(rig.engine, job.id) == ["queued", "started", "log", "progress", "retrying", "started"]


async def test_many_settlements_at_once_are_answered_in_order(rig: Any) -> None:
    await rig.engine.sink.put([spec() for _ in range(10)])
    claims = await take(rig.engine, most=10)
    claims[4] = msgspec.structs.replace(claims[4], job=msgspec.structs.replace(claims[4].job, epoch=99))
    flags = await rig.engine.source.settle("w1", [said(claim, Outcome.SUCCEEDED) for claim in claims])
    assert list(flags) == [True] * 4 + [False] + [True] * 5


async def test_a_waiting_job_is_cancelled_at_once(rig: Any) -> None:
    queued = await put(rig.engine)
    later = await put(rig.engine, not_before=rig.clock.now() + 60)
    for job in (queued, later):
        assert await rig.engine.jobs.cancel(job.id) is JobState.CANCELLED
        assert (await collect(rig.engine, f"jobs/{job.id}"))[-1].kind == "cancelled"
    assert await nothing_to_take(rig.engine)


async def test_a_running_job_is_told_to_end(rig: Any) -> None:
    job = await put(rig.engine, retries=5)
    (claim,) = await take(rig.engine)
    assert await rig.engine.jobs.cancel(job.id) is JobState.RUNNING
    assert await rig.engine.source.renew("w1", {job.id: claim.job.epoch}) == {job.id: "cancel"}
    await settle(rig.engine, claim, Outcome.CANCELLED)
    assert (await rig.engine.jobs.get(job.id)).state is JobState.CANCELLED


@pytest.mark.parametrize("end", ["failed", "lost", "released"])
async def test_a_job_that_was_to_be_cancelled_is_not_run_again(rig: Any, end: str) -> None:
    job = await put(rig.engine, retries=5)
    (claim,) = await take(rig.engine)
    await rig.engine.jobs.cancel(job.id)
    if end == "lost":
        await rig.engine.source.abandon("w1")
    else:
        await settle(rig.engine, claim, Outcome(end))
    assert (await rig.engine.jobs.get(job.id)).state is JobState.CANCELLED


async def test_a_job_that_succeeds_before_it_hears_of_its_cancellation_has_succeeded(rig: Any) -> None:
    job = await put(rig.engine)
    (claim,) = await take(rig.engine)
    await rig.engine.jobs.cancel(job.id)
    await settle(rig.engine, claim)
    assert (await rig.engine.jobs.get(job.id)).state is JobState.SUCCEEDED


@pytest.mark.parametrize(("running", "charged"), [(None, [0]), ([2], [2]), ([0, 2], [0, 2]), ([], [])])
async def test_a_loss_is_charged_to_what_was_running(rig: Any, running: list[int] | None, charged: list[int]) -> None:
    jobs = [await put(rig.engine) for _ in range(3)]
    await take(rig.engine, most=3)
    known = None if running is None else [jobs[at].id for at in running]
    assert await rig.engine.source.abandon("w1", known) == 3
    records = [await rig.engine.jobs.get(job.id) for job in jobs]
    assert [record.losses for record in records] == [int(at in charged) for at in range(3)]
    assert [record.tries for record in records] == [int(at in charged) for at in range(3)]
    assert {record.state for record in records} == {JobState.QUEUED}
