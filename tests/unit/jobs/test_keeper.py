"""The loop side of a job worker over the memory engine, with the test as its main thread and the clock in its hand."""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from headgate.base.clock import ManualClock
from headgate.base.errors import (
    BadArguments,
    HeadgateError,
    JobCancelled,
    JobHandedBack,
    JobTimeout,
    LeaseLost,
    Unavailable,
)
from headgate.base.model import Claim, JobRecord, JobState, NewEvent, Outcome, Settlement
from headgate.declare.job import Batching
from headgate.drivers.memory import MemoryEngine
from headgate.jobs.keeper import Keeper
from headgate.jobs.oversight import GRACE
from headgate.jobs.run import Run, Work
from tests.support.contract import LIMITS, eventually, kinds, put, spec

pytestmark = pytest.mark.anyio

NAME = "w1"


class Refusing:
    """A source whose settlements go wrong as the test says."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.settle_error: Callable[[Sequence[Settlement]], Exception | None] = lambda _: None
        self.progress_errors: list[Exception] = []
        self.renew_errors: list[Exception] = []

    async def renew(self, *given: Any) -> Any:
        if self.renew_errors:
            raise self.renew_errors.pop()
        return await self._source.renew(*given)

    async def settle(self, worker: str, settlements: Sequence[Settlement]) -> Sequence[bool]:
        if (error := self.settle_error(settlements)) is not None:
            raise error
        return list(await self._source.settle(worker, settlements))

    async def progress(self, *given: Any) -> None:
        if self.progress_errors:
            await asyncio.sleep(0)
            raise self.progress_errors.pop(0)
        await self._source.progress(*given)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


@dataclass
class Rig:
    engine: MemoryEngine
    source: Refusing
    clock: ManualClock
    keeper: Keeper
    interrupts: list[HeadgateError] = field(default_factory=list)
    killed: int = 0

    async def work(self) -> Work:
        """What the main thread would take next; it is running then."""
        found = await eventually(self._next, "the keeper gives work")
        assert isinstance(found, Work)
        self.keeper.current = found
        found.began = self.clock.monotonic()
        return found

    def end(self, work: Work, outcome: Outcome = Outcome.SUCCEEDED, **more: Any) -> None:
        """The work has ended in the main thread."""
        work.ended = self.clock.monotonic()
        self.keeper.current = None
        said = [Settlement(id=run.id, epoch=run.epoch, outcome=outcome, **more) for run in work.runs]
        self.keeper.finished(work, said)

    def hungry(self) -> None:
        """The jobs before were short: many are leased ahead."""
        for _ in range(40):
            self.keeper._appetite.ran(0.001)

    async def work_in_time(self) -> Work:
        """As `work`, while time passes."""

        async def passes() -> bool:
            await self.clock.advance(0.2)
            return not self.keeper.inbox.empty()

        await eventually(passes, "the keeper gives work")
        return await self.work()

    async def state(self, job_id: str) -> JobState:
        record = await self.engine.jobs.get(job_id)
        assert record is not None
        return record.state

    async def becomes(self, job_id: str, state: JobState) -> None:
        async def reached() -> bool:
            return await self.state(job_id) is state

        await eventually(reached, f"the job is {state}")

    async def _next(self) -> Work | bool:
        with contextlib.suppress(queue.Empty):
            return self.keeper.inbox.get_nowait() or False
        return False


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    clock = ManualClock()
    engine = MemoryEngine(clock=clock, limits=LIMITS)
    await engine.open()
    source = Refusing(engine.source)
    engine.source = source
    made: list[Rig] = []

    def interrupt(error: HeadgateError) -> bool:
        made[0].interrupts.append(error)
        return True

    def kill() -> None:
        made[0].killed += 1

    keeper = Keeper(
        NAME,
        engine,
        ["*"],
        ["shop:reprice", "shop:index", "shop:mail"],
        clock=clock,
        interrupt=interrupt,
        kill=kill,
        batching={"shop:index": Batching(5, 0.5), "shop:mail": Batching(5, 0.5)},
    )
    made.append(Rig(engine, source, clock, keeper))
    keeper.start()
    yield made[0]
    assert made[0].killed <= 1
    source.settle_error = lambda _: None
    for task in keeper._tasks:
        task.cancel()
    await engine.close()


async def test_work_is_given_and_its_end_handed_over(rig: Rig) -> None:
    job = await put(rig.engine)
    work = await rig.work()
    rig.end(work, result=b"\x07")
    await rig.becomes(job.id, JobState.SUCCEEDED)
    assert rig.keeper.settled == 1


async def test_what_a_job_said_is_in_its_stream_before_its_end(rig: Rig) -> None:
    job = await put(rig.engine)
    work = await rig.work()
    for n in range(3):
        work.runs[0].emit(NewEvent("log", {"message": str(n)}))
    work.runs[0].emit(NewEvent("progress", {"done": 3}))
    rig.end(work)
    await rig.becomes(job.id, JobState.SUCCEEDED)
    assert await kinds(rig.engine, job.id) == ["queued", "started", "log", "log", "log", "progress", "result"]


async def test_what_had_to_wait_for_the_engine_keeps_its_order(rig: Rig) -> None:
    job = await put(rig.engine)
    work = await rig.work()
    rig.source.progress_errors = [Unavailable("away"), Unavailable("away")]
    for n in range(6):
        work.runs[0].emit(NewEvent("log", {"message": str(n)}))
        await rig.clock.advance(0.2)
    rig.end(work)
    await rig.clock.advance(2.0)
    await rig.becomes(job.id, JobState.SUCCEEDED)
    events = (await rig.engine.streams.read(f"jobs/{job.id}", 0)).events
    assert [event.data["message"] for event in events if event.kind == "log"] == [str(n) for n in range(6)]
    assert events[-1].terminal


async def test_events_that_the_engine_will_never_take_hold_up_no_end(rig: Rig) -> None:
    job = await put(rig.engine)
    work = await rig.work()
    rig.source.progress_errors = [TypeError("no such event")]
    work.runs[0].emit(NewEvent("log", {"message": "lost"}))
    rig.end(work)
    await rig.becomes(job.id, JobState.SUCCEEDED)


async def test_a_lease_is_renewed_for_as_long_as_the_job_runs(rig: Rig) -> None:
    job = await put(rig.engine)
    work = await rig.work()
    for _ in range(20):
        await rig.clock.advance(LIMITS.lease / 3)
    assert await rig.state(job.id) is JobState.RUNNING
    rig.end(work)
    await rig.becomes(job.id, JobState.SUCCEEDED)


async def test_a_renewal_that_fails_late_is_tried_again_before_the_lease_ends(rig: Rig) -> None:
    job = await put(rig.engine)
    work = await rig.work()
    await rig.clock.advance(LIMITS.lease / 3)
    rig.source.renew_errors = [Unavailable("the line was cut")] * 2
    await rig.clock.advance(LIMITS.lease / 3)
    for _ in range(3):
        await rig.clock.advance(0.5)
    assert not rig.source.renew_errors
    await rig.clock.advance(LIMITS.lease / 3 - 0.5)  # all in all more than the lease since the first renewal
    assert await rig.state(job.id) is JobState.RUNNING
    rig.end(work)
    await rig.becomes(job.id, JobState.SUCCEEDED)


async def test_a_timeout_is_raised_again_and_again_and_then_the_process_is_killed(rig: Rig) -> None:
    job = await put(rig.engine, timeout=10.0)
    await rig.work()
    await rig.clock.advance(9.9)
    assert rig.interrupts == []
    await rig.clock.advance(0.3)
    assert {type(error) for error in rig.interrupts} == {JobTimeout}
    assert len(rig.interrupts) > 1
    await rig.clock.advance(GRACE + 0.2)
    await rig.becomes(job.id, JobState.FAILED)

    async def killed() -> bool:
        return rig.killed == 1

    await eventually(killed, "the process is killed")


async def test_a_timeout_comes_though_the_engine_is_away_and_more_is_to_be_handed_back(rig: Rig) -> None:
    """Handing back waits for the engine; looking at the time must not wait for that."""
    rig.hungry()
    await rig.engine.sink.put([spec(timeout=10.0) for _ in range(4)])
    rig.source.settle_error = lambda _: Unavailable("away")
    first = await rig.work()
    rig.end(first)
    await rig.work()
    await rig.clock.advance(10.5)
    assert [type(error) for error in rig.interrupts[:1]] == [JobTimeout]
    await rig.clock.advance(GRACE + 3.5)
    await eventually(lambda: _true(rig.killed == 1), "the process is killed though nobody could be told")


async def _true(value: bool) -> bool:
    return value


async def test_results_wait_while_the_engine_is_away(rig: Rig) -> None:
    job = await put(rig.engine)
    rig.source.settle_error = lambda _: Unavailable("away")
    rig.end(await rig.work())
    await rig.clock.advance(3 * LIMITS.lease)
    assert await rig.state(job.id) is JobState.RUNNING
    rig.source.settle_error = lambda _: None
    await rig.clock.advance(1.0)
    await rig.becomes(job.id, JobState.SUCCEEDED)


async def test_an_end_that_is_refused_for_good_becomes_a_failure_and_spoils_no_other(rig: Rig) -> None:
    def poisoned(settlements: Sequence[Settlement]) -> Exception | None:
        return TypeError("no such encoding") if any(one.result == b"\xc1" for one in settlements) else None

    rig.source.settle_error = poisoned
    bad, good = await put(rig.engine), await put(rig.engine)
    rig.end(await rig.work(), result=b"\xc1")
    rig.end(await rig.work(), result=b"\x07")
    await rig.becomes(bad.id, JobState.FAILED)
    await rig.becomes(good.id, JobState.SUCCEEDED)
    record = await rig.engine.jobs.get(bad.id)
    assert record is not None
    assert record.failure is not None
    assert record.failure.type == "NotHandedOver"


async def test_an_end_that_nothing_can_tell_lets_its_lease_go(rig: Rig) -> None:
    job = await put(rig.engine)
    rig.source.settle_error = lambda _: TypeError("never")
    rig.end(await rig.work())
    await eventually(lambda: _true(not rig.keeper._leases.held), "the lease is let go")
    rig.source.settle_error = lambda _: None
    for _ in range(4):
        await rig.clock.advance(LIMITS.lease / 2)
    again = await rig.work()
    assert again.runs[0].id == job.id
    rig.end(again)
    await rig.becomes(job.id, JobState.SUCCEEDED)


async def test_a_slow_job_gives_back_what_was_leased_ahead(rig: Rig) -> None:
    rig.hungry()
    jobs = [spec() for _ in range(5)]
    await rig.engine.sink.put(jobs)
    rig.end(await rig.work())
    await rig.becomes(jobs[0].id, JobState.SUCCEEDED)
    await eventually(lambda: _true(len(rig.keeper._leases.held) == 4), "the others are leased ahead")
    await rig.work()
    for _ in range(5):
        await rig.clock.advance(1.0)
    for job in jobs[2:]:
        await rig.becomes(job.id, JobState.QUEUED)
        record = await rig.engine.jobs.get(job.id)
        assert record is not None
        assert record.tries == 0


async def test_a_drain_hands_back_what_was_not_begun_and_ends_after_what_was(rig: Rig) -> None:
    rig.hungry()
    jobs = [spec() for _ in range(5)]
    await rig.engine.sink.put(jobs)
    work = await rig.work()
    await rig.keeper.drain(30.0)
    assert rig.keeper.inbox.get_nowait() is None
    begun = work.runs[0].id
    for job in jobs:
        if job.id != begun:
            await rig.becomes(job.id, JobState.QUEUED)
    assert await rig.state(begun) is JobState.RUNNING
    rig.end(work)
    await rig.keeper.stop()
    assert await rig.state(begun) is JobState.SUCCEEDED


async def test_a_job_too_long_for_the_drain_is_interrupted(rig: Rig) -> None:
    await put(rig.engine)
    await rig.work()
    await rig.keeper.drain(10.0)
    await rig.clock.advance(5.0)
    assert rig.interrupts == []
    await rig.clock.advance(4.0)
    assert {type(error) for error in rig.interrupts} == {JobHandedBack}


async def test_a_cancellation_is_heard_at_once_and_a_lost_lease_with_the_renewal(rig: Rig) -> None:
    job = await put(rig.engine)
    await rig.work()
    await rig.engine.jobs.cancel(job.id)
    await eventually(lambda: _true(bool(rig.interrupts)), "the job is interrupted")
    assert isinstance(rig.interrupts[0], JobCancelled)


async def test_a_lost_lease_ends_the_job(rig: Rig) -> None:
    job = await put(rig.engine)
    work = await rig.work()
    await rig.engine.source.abandon(NAME)
    await rig.clock.advance(LIMITS.lease)
    assert {type(error) for error in rig.interrupts} == {LeaseLost}
    rig.end(work)
    await rig.clock.advance(1.0)
    assert (await rig.state(job.id)) in (JobState.QUEUED, JobState.RUNNING)


async def test_a_list_is_filled_until_it_is_full_or_has_waited_long_enough(rig: Rig) -> None:
    jobs = [spec("shop:index") for _ in range(7)]
    await rig.engine.sink.put(jobs)
    work = await rig.work()
    assert (work.batched, [run.id for run in work.runs]) == (True, [job.id for job in jobs[:5]])
    rig.end(work, result=b"\xc0")
    work = await rig.work_in_time()
    assert [run.id for run in work.runs] == [job.id for job in jobs[5:]]
    rig.end(work, result=b"\xc0")
    await rig.becomes(jobs[6].id, JobState.SUCCEEDED)


async def test_a_job_whose_try_failed_is_kept_apart_from_lists(rig: Rig) -> None:
    job = spec("shop:index", retries=1)
    await rig.engine.sink.put([job])
    rig.end(await rig.work_in_time(), Outcome.FAILED)
    await rig.becomes(job.id, JobState.SCHEDULED)
    await rig.clock.advance(5.0)
    await rig.engine.sink.put([spec("shop:index") for _ in range(2)])
    lists: list[list[str]] = []
    while sum(len(one) for one in lists) < 3:
        work = await rig.work_in_time()
        lists.append([run.id for run in work.runs])
        rig.end(work)
    assert [job.id] in lists


async def test_a_drain_hands_back_lists_that_are_not_full_yet(rig: Rig) -> None:
    rig.hungry()
    held_up = await put(rig.engine)
    work = await rig.work()
    jobs = [spec("shop:index"), spec("shop:mail"), spec("shop:index"), spec("shop:mail")]
    await rig.engine.sink.put(jobs)

    async def taken() -> bool:
        return all([await rig.state(job.id) is JobState.RUNNING for job in jobs])

    await eventually(taken, "the lists are begun")
    await rig.keeper.drain(30.0)
    for job in jobs:
        await rig.becomes(job.id, JobState.QUEUED)
    rig.end(work)
    await rig.becomes(held_up.id, JobState.SUCCEEDED)


def test_what_is_told_is_checked_where_it_is_said() -> None:
    run = Run(Claim(JobRecord(spec=spec(), state=JobState.RUNNING), 15.0), lambda _: None, lambda *_: None)
    with pytest.raises(BadArguments, match="cannot be told"):
        run.emit(NewEvent("progress", {"done": object()}))
    with pytest.raises(BadArguments, match="may have"):
        run.emit(NewEvent("log", {"message": "x" * 100_000}))
    assert not run.has_pending()
