"""The life of a job as a table: how it stands and what happened, in; what becomes of it, out."""

from __future__ import annotations

import pytest

from headgate.base import lifecycle
from headgate.base.errors import WrongState
from headgate.base.lifecycle import LOSSES_ALLOWED, Standing
from headgate.base.model import Backoff, Failure, JobState, Outcome, Settlement

RUNNING = JobState.RUNNING
NO_JITTER = Backoff(first=2.0, factor=3.0, most=10.0, jitter=0.0)


def said(outcome: Outcome, delay: float | None = None) -> Settlement:
    return Settlement(id="1", epoch=1, outcome=outcome, delay=delay, failure=Failure("ValueError", "no"))


@pytest.mark.parametrize(
    ("job", "outcome", "delay", "state", "wait", "events"),
    [
        (Standing(RUNNING), "succeeded", None, "succeeded", None, []),
        (Standing(RUNNING, cancel_requested=True), "succeeded", None, "succeeded", None, []),
        (Standing(RUNNING), "failed", None, "failed", None, ["failed"]),
        (Standing(RUNNING, retries=1, backoff=NO_JITTER), "failed", None, "scheduled", 2.0, ["retrying"]),
        (Standing(RUNNING, failures=1, retries=2, backoff=NO_JITTER), "failed", None, "scheduled", 6.0, ["retrying"]),
        (Standing(RUNNING, failures=5, retries=9, backoff=NO_JITTER), "failed", None, "scheduled", 10.0, ["retrying"]),
        (Standing(RUNNING, failures=2, retries=2), "failed", None, "failed", None, ["failed"]),
        (Standing(RUNNING, retries=1), "failed", 7.5, "scheduled", 7.5, ["retrying"]),
        (Standing(RUNNING, retries=1), "failed", 0.0, "queued", None, ["retrying"]),
        (Standing(RUNNING, retries=9), "give_up", None, "failed", None, ["failed"]),
        (Standing(RUNNING, retries=9, cancel_requested=True), "failed", None, "cancelled", None, ["cancelled"]),
        (Standing(RUNNING, cancel_requested=True), "give_up", None, "failed", None, ["failed"]),
        (Standing(RUNNING), "cancelled", None, "cancelled", None, ["cancelled"]),
        (Standing(RUNNING), "released", None, "queued", None, ["queued"]),
        (Standing(RUNNING), "retry", 30.0, "scheduled", 30.0, ["retrying"]),
        (Standing(RUNNING), "retry", None, "queued", None, ["retrying"]),
    ],
)
def test_settlements(
    job: Standing, outcome: str, delay: float | None, state: str, wait: float | None, events: list[str]
) -> None:
    step = lifecycle.settled(job, said(Outcome(outcome), delay), spread=0.5)
    assert (step.state.value, step.delay, [event.kind for event in step.events]) == (state, wait, events)
    assert all(event.terminal == step.state.terminal for event in step.events)


def test_only_a_failure_counts_as_one_and_only_a_release_as_no_try() -> None:
    job = Standing(RUNNING, failures=1, retries=5)
    counted = {outcome: lifecycle.settled(job, said(outcome), 0.5) for outcome in Outcome}
    assert {outcome.value for outcome, step in counted.items() if step.failures == 2} == {"failed", "give_up"}
    assert {outcome.value for outcome, step in counted.items() if step.uncounted} == {"released"}


def test_the_back_off_is_spread_within_its_jitter() -> None:
    backoff = Backoff(first=100.0, jitter=0.2)
    assert [lifecycle.wait_before(backoff, 1, spread) for spread in (0.0, 0.5, 1.0)] == [80.0, 100.0, 120.0]


def test_a_lost_worker_is_no_failure_until_there_are_too_many() -> None:
    for losses in range(LOSSES_ALLOWED):
        step = lifecycle.lost(Standing(RUNNING, losses=losses), "w", begun=True)
        assert (step.state, step.losses, step.failures) == (JobState.QUEUED, losses + 1, 0)
    step = lifecycle.lost(Standing(RUNNING, losses=LOSSES_ALLOWED), "w7", begun=True)
    assert step.state is JobState.FAILED
    assert step.failure is not None
    assert "w7" in step.failure.message


def test_a_job_leased_ahead_goes_back_as_if_nothing_had_been() -> None:
    step = lifecycle.lost(Standing(RUNNING, losses=LOSSES_ALLOWED), "w", begun=False)
    assert (step.state, step.losses, step.uncounted) == (JobState.QUEUED, LOSSES_ALLOWED, True)


def test_a_lost_job_that_was_to_be_cancelled_is() -> None:
    assert lifecycle.lost(Standing(RUNNING, cancel_requested=True), "w", begun=True).state is JobState.CANCELLED


@pytest.mark.parametrize("state", JobState)
def test_cancelling(state: JobState) -> None:
    if state.terminal:
        with pytest.raises(WrongState):
            lifecycle.cancelled(Standing(state))
    elif state is RUNNING:
        assert lifecycle.cancelled(Standing(state)) is None
    else:
        step = lifecycle.cancelled(Standing(state))
        assert step is not None
        assert step.state is JobState.CANCELLED


@pytest.mark.parametrize("state", JobState)
def test_reviving(state: JobState) -> None:
    if state in (JobState.FAILED, JobState.CANCELLED):
        step = lifecycle.revived(Standing(state, failures=3, losses=2))
        assert (step.state, step.failures, step.losses) == (JobState.QUEUED, 0, 0)
    else:
        with pytest.raises(WrongState):
            lifecycle.revived(Standing(state))


def test_the_traceback_is_not_told_to_followers() -> None:
    failure = Failure("ValueError", "no", "Traceback: /srv/secret/path.py")
    step = lifecycle.settled(
        Standing(RUNNING), Settlement(id="1", epoch=1, outcome=Outcome.FAILED, failure=failure), spread=0.5
    )
    assert step.events[0].data == {"type": "ValueError", "message": "no"}
    assert step.failure == failure
