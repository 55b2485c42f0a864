"""Chains, groups with a completion, and crons."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headgate.base.errors import ConfigError, UnknownJob
from headgate.base.model import Cron, JobSpec, JobState, Missed, Outcome, new_id
from tests.support.contract import collect, kinds, nothing_to_take, put, settle, spec, take

pytestmark = pytest.mark.anyio


async def states(rig: Any, *jobs: JobSpec) -> list[str]:
    return [(await rig.engine.jobs.get(job.id)).state.value for job in jobs]


async def test_a_job_waits_for_another(rig: Any) -> None:
    first = spec()
    second = spec(after=(first.id,))
    await rig.engine.sink.put([first, second])
    (claim,) = await take(rig.engine, most=5)
    assert claim.job.id == first.id
    assert await nothing_to_take(rig.engine)
    await settle(rig.engine, claim, result=msgspec.msgpack.encode(7))
    (claim,) = await take(rig.engine)
    assert claim.job.id == second.id


async def test_a_chain_ends_with_the_first_that_fails(rig: Any) -> None:
    first = spec()
    second = spec(after=(first.id,))
    third = spec(after=(second.id,))
    await rig.engine.sink.put([first, second, third])
    await settle(rig.engine, (await take(rig.engine))[0], Outcome.FAILED)
    assert await states(rig, first, second, third) == ["failed", "cancelled", "cancelled"]
    event = (await collect(rig.engine, f"jobs/{third.id}"))[-1]
    assert (event.kind, event.data["type"]) == ("cancelled", "NotReached")


async def test_a_retried_job_keeps_the_others_waiting(rig: Any) -> None:
    first = spec(retries=1)
    second = spec(after=(first.id,))
    await rig.engine.sink.put([first, second])
    await settle(rig.engine, (await take(rig.engine))[0], Outcome.FAILED, delay=5.0)
    assert await states(rig, first, second) == ["scheduled", "scheduled"]
    await rig.clock.advance(6)
    await settle(rig.engine, (await take(rig.engine))[0])
    assert await states(rig, first, second) == ["succeeded", "queued"]


async def test_the_completion_of_a_group_follows_its_progress(rig: Any) -> None:
    members = [spec() for _ in range(3)]
    then = spec(after=tuple(member.id for member in members))
    await rig.engine.sink.put([*members, then])
    for claim in await take(rig.engine, most=5):
        await settle(rig.engine, claim)
    batch = await rig.engine.streams.read(f"jobs/{then.id}", 0)
    progress = [event.data for event in batch.events if event.kind == "progress"]
    assert progress == [{"done": n, "total": 3} for n in (1, 2, 3)]
    assert await states(rig, then) == ["queued"]


async def test_a_group_whose_member_fails_is_not_completed_unless_it_says_so(rig: Any) -> None:
    members = [spec(), spec()]
    after = tuple(member.id for member in members)
    strict, lenient = spec(after=after), spec(after=after, even_if_failed=True)
    await rig.engine.sink.put([*members, strict, lenient])
    claims = await take(rig.engine, most=2)
    await settle(rig.engine, claims[0], Outcome.FAILED)
    assert await states(rig, strict, lenient) == ["cancelled", "scheduled"]
    await settle(rig.engine, claims[1])
    assert await states(rig, strict, lenient) == ["cancelled", "queued"]


async def test_waiting_for_what_has_ended_already(rig: Any) -> None:
    good, bad = await put(rig.engine), await put(rig.engine)
    claims = await take(rig.engine, most=2)
    await settle(rig.engine, claims[0])
    await settle(rig.engine, claims[1], Outcome.FAILED)
    after_good, after_bad = spec(after=(good.id,)), spec(after=(bad.id,))
    await rig.engine.sink.put([after_good, after_bad])
    assert await states(rig, after_good, after_bad) == ["queued", "cancelled"]


async def test_waiting_for_nobody_is_refused_whole(rig: Any) -> None:
    with pytest.raises(UnknownJob, match="not there"):
        await rig.engine.sink.put([spec(), spec(after=(new_id(),))])
    assert await rig.engine.jobs.stats() == {}


async def test_a_member_known_by_its_idempotency_key_is_waited_for(rig: Any) -> None:
    older = await put(rig.engine, idempotency_key="load-7")
    again = spec(idempotency_key="load-7")
    then = spec(after=(again.id,))
    await rig.engine.sink.put([again, then])
    (claim,) = await take(rig.engine)
    assert claim.job.id == older.id
    await settle(rig.engine, claim)
    assert await states(rig, then) == ["queued"]


async def test_a_job_that_was_cancelled_while_it_waited_waits_again_when_it_is_put_back(rig: Any) -> None:
    first = spec()
    second = spec(after=(first.id,))
    await rig.engine.sink.put([first, second])
    await rig.engine.jobs.cancel(second.id)
    assert await rig.engine.jobs.retry(second.id) is JobState.SCHEDULED
    (claim,) = await take(rig.engine, most=5)
    assert claim.job.id == first.id
    await settle(rig.engine, claim)
    (claim,) = await take(rig.engine)
    assert claim.job.id == second.id
    await settle(rig.engine, claim)
    assert await states(rig, first, second) == ["succeeded", "succeeded"]


async def test_what_ended_while_it_was_cancelled_is_not_waited_for(rig: Any) -> None:
    first = spec()
    second = spec(after=(first.id,))
    await rig.engine.sink.put([first, second])
    await rig.engine.jobs.cancel(second.id)
    await settle(rig.engine, (await take(rig.engine))[0], Outcome.FAILED)
    assert await rig.engine.jobs.retry(second.id) is JobState.QUEUED
    (claim,) = await take(rig.engine)
    assert (claim.job.id, claim.job.tries) == (second.id, 1)


async def test_cancelling_the_one_that_waits_and_the_one_waited_for(rig: Any) -> None:
    first = spec()
    second = spec(after=(first.id,))
    third = spec(after=(second.id,))
    await rig.engine.sink.put([first, second, third])
    await rig.engine.jobs.cancel(second.id)
    assert await states(rig, first, second, third) == ["queued", "cancelled", "cancelled"]


async def test_a_waiting_job_keeps_its_own_time_and_its_key(rig: Any) -> None:
    first = spec()
    second = spec(after=(first.id,), not_before=rig.clock.now() + 60)
    keyed = [spec(after=(first.id,), key="k") for _ in range(2)]
    await rig.engine.sink.put([first, second, *keyed])
    await settle(rig.engine, (await take(rig.engine))[0])
    assert await states(rig, second) == ["scheduled"]
    assert len(await take(rig.engine, most=5)) == 1
    await rig.clock.advance(61)
    assert await states(rig, second) == ["queued"]


def cron(expression: str = "*/5 * * * *", name: str = "m:tidy", missed: Missed = Missed.ONCE) -> Cron:
    return Cron(name=name, expression=expression, job=spec(name), missed=missed)


async def ran(rig: Any, name: str = "m:tidy") -> int:
    return len(await rig.engine.jobs.find(function=name, most=1000))


async def test_a_cron_makes_one_job_for_each_moment_whoever_declares_it(rig: Any) -> None:
    for _ in range(3):
        await rig.engine.operations.set_crons("app", [cron()])
    await rig.clock.advance(16 * 60)
    assert await ran(rig) == 3
    await rig.engine.operations.set_crons("app", [cron()])
    await rig.clock.advance(5 * 60)
    assert await ran(rig) == 4
    record = (await rig.engine.jobs.find(most=1))[0]
    assert await kinds(rig.engine, record.id) == ["queued"]
    assert record.state is JobState.QUEUED


async def test_a_cron_that_is_no_longer_declared_stops(rig: Any) -> None:
    await rig.engine.operations.set_crons("app", [cron(), cron(name="m:other")])
    await rig.engine.operations.set_crons("elsewhere", [cron(name="m:theirs")])
    await rig.engine.operations.set_crons("app", [cron(name="m:other")])
    assert sorted(one.name for _, one, _ in await rig.engine.operations.crons()) == ["m:other", "m:theirs"]
    await rig.clock.advance(5 * 60)
    assert await ran(rig) == 0
    assert await ran(rig, "m:other") == 1


@pytest.mark.parametrize(("missed", "jobs"), [(Missed.SKIP, 0), (Missed.ONCE, 1), (Missed.ALL, 13)])
async def test_missed_moments(rig: Any, missed: Missed, jobs: int) -> None:
    # The manual clock starts at 22:13:20; the last moment of the hour is 66 s old when the clock has stepped.
    await rig.engine.operations.set_crons("app", [cron(missed=missed)])
    rig.clock.step(3600 + 166)
    await rig.clock.advance(1.5)
    assert await ran(rig) == jobs


async def test_a_changed_expression_begins_anew(rig: Any) -> None:
    await rig.engine.operations.set_crons("app", [cron("0 0 1 1 *")])
    await rig.engine.operations.set_crons("app", [cron("* * * * *")])
    await rig.clock.advance(61)
    assert await ran(rig) == 1


async def test_crons_go_on_when_a_clock_that_was_far_ahead_is_set_back(rig: Any) -> None:
    year = 366 * 86_400.0
    await rig.engine.operations.set_crons("app", [cron()])
    rig.clock.step(year)
    await rig.clock.advance(2)
    (claim,) = await take(rig.engine)
    await settle(rig.engine, claim)
    rig.clock.step(-year)
    await rig.engine.operations.set_crons("app", [cron()])
    ((_, _, moment),) = await rig.engine.operations.crons()
    assert rig.clock.now() < moment <= rig.clock.now() + 300


async def test_a_wrong_cron_changes_nothing(rig: Any) -> None:
    await rig.engine.operations.set_crons("app", [cron()])
    with pytest.raises(ConfigError, match="minute"):
        await rig.engine.operations.set_crons("app", [cron("99 * * * *")])
    assert len(await rig.engine.operations.crons()) == 1
