"""What a user's clicks come to in the run's counters and series."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.simulate.users import OneUser

pytestmark = pytest.mark.anyio


@pytest.fixture
async def user() -> AsyncIterator[OneUser]:
    one = OneUser()
    await one.connect()
    yield one
    await one.floor.close()


async def test_an_answer_is_timed(user: OneUser) -> None:
    user.hear("answer", id=user.click())
    assert (user.counts, user.timed) == ({}, {"click": 1, "click.service": 1})


async def test_a_click_whose_connection_broke_is_lost_and_not_timed(user: OneUser) -> None:
    user.hear("lost", id=user.click(), detail="cut")
    assert (user.counts, user.timed) == ({"lost": 1, "lost.click": 1}, {})
    assert user.floor.measure.lost_by_cause == {"cut": 1}
    assert user.floor.measure.counts["messages"] == 0
    user.player.settle(0.0)
    assert user.counts["lost"] == 1


async def test_a_click_that_the_run_itself_cut_off_is_not_lost(user: OneUser) -> None:
    first = user.click()
    user.player.freeze(True)
    user.hear("lost", id=first)
    assert (user.counts, user.timed) == ({"abandoned": 1}, {})


async def test_a_refusal_is_timed_apart_from_the_answers(user: OneUser) -> None:
    user.hear("error", id=user.click(), detail="HTTP 503")
    assert (user.counts, user.timed) == ({"errors": 1, "errors.HTTP 503": 1}, {"click.refused": 1})


@pytest.mark.parametrize("job", ["j", None])
async def test_slow_work_does_not_excuse_an_answer_that_was_lost_before_a_cut(user: OneUser, job: str | None) -> None:
    heavy = user.click("update")
    if job is None:
        user.hear("answer", after=500.0, id=heavy)
    else:
        user.hear("answer", id=heavy, job=job)
        user.hear("result", after=500.0, job=job)
    user.hear("answer", id=user.click())
    user.click("click")
    user.click("update")
    user.later(5.0 if job else 15.0)
    user.click("click")
    user.player.cut()
    user.player.settle(0.0)
    assert (user.counts["lost.click"], user.counts["lost.update"], user.counts["abandoned"]) == (1, 1, 1)


async def test_every_click_that_named_a_job_is_timed_to_its_end(user: OneUser) -> None:
    for each in (user.click("update"), user.click("update")):
        user.hear("answer", id=each, job="j")
    user.hear("result", job="j")
    user.hear("answer", id=user.click("update"), job="j")
    assert user.counts == {"results": 3}
    assert (user.timed["update"], user.timed["update.result"]) == (3, 3)


async def test_a_lost_result_is_not_a_lost_answer(user: OneUser) -> None:
    user.hear("answer", id=user.click("update"), job="j")
    user.click("update")
    user.player.settle(0.0)
    assert user.counts == {"lost": 2, "lost.update": 1, "lost.update.result": 1}
