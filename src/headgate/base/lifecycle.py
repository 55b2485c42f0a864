"""The life of a job, decided purely: the job as it stands and what happened, in; the next step, out.

    scheduled → queued → running → succeeded | failed | cancelled
                   ↑________|  retry, release, lost worker

Engines store what is decided here and decide nothing of it themselves. It lives on the lowest floor
because every engine needs it and engines may not import the job workers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from headgate.base.errors import WrongState
from headgate.base.model import Backoff, Failure, JobState, NewEvent, Outcome, Settlement

LOSSES_ALLOWED: Final = 5
"""How often a job may lose its worker and run again. Not counted as failures: the machine may be to blame; but a
job that kills every worker it meets must end in the dead letters."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a decision needs to know of a job."""

    state: JobState
    failures: int = 0
    losses: int = 0
    retries: int = 0
    backoff: Backoff = field(default_factory=Backoff)
    cancel_requested: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What becomes of a job.

    `delay` (seconds) goes with SCHEDULED; `events` are to be appended to its stream in the same commit;
    `uncounted` takes back the try that the claim counted.
    """

    state: JobState
    events: tuple[NewEvent, ...]
    delay: float | None = None
    failures: int = 0
    losses: int = 0
    failure: Failure | None = None
    uncounted: bool = False


def wait_before(backoff: Backoff, failures: int, spread: float) -> float:
    """Seconds to wait after the nth failure; `spread` in 0…1 places the wait within its jitter."""
    wait = min(backoff.most, backoff.first * backoff.factor ** max(0, failures - 1))
    return max(0.0, wait * (1.0 + backoff.jitter * (2.0 * spread - 1.0)))


def settled(job: Standing, said: Settlement, spread: float) -> Step:
    """The worker lets go of its claim. The result event of a success is made by the engine, which has its bytes."""
    if said.outcome is Outcome.SUCCEEDED:
        return Step(JobState.SUCCEEDED, (), failures=job.failures, losses=job.losses)
    if said.outcome is Outcome.CANCELLED or (job.cancel_requested and said.outcome is not Outcome.GIVE_UP):
        return _cancelled(job, said.failure)
    if said.outcome is Outcome.RELEASED:
        return _again(job, NewEvent("queued", {"released": True}), said.delay, uncounted=True)
    if said.outcome is Outcome.RETRY:
        return _again(job, NewEvent("retrying", {"in": said.delay or 0.0, "asked": True}), said.delay)
    failure = said.failure or Failure("Unknown", "the job worker gave no reason")
    failures = job.failures + 1
    if said.outcome is Outcome.GIVE_UP or failures > job.retries:
        return _failed(job, failure, failures)
    delay = said.delay if said.delay is not None else wait_before(job.backoff, failures, spread)
    told = {"in": delay, "type": failure.type, "message": failure.message, "failures": failures}
    return _again(job, NewEvent("retrying", told), delay, failures=failures, failure=failure)


def lost(job: Standing, worker: str, *, begun: bool) -> Step:
    """The worker died or its lease ran out. `begun` is False for a job that was only leased ahead, never run."""
    if job.cancel_requested:
        return _cancelled(job, None)
    if not begun:
        return _again(job, NewEvent("queued", {"released": True}), None, uncounted=True)
    losses = job.losses + 1
    if losses > LOSSES_ALLOWED:
        message = f"{losses} job workers died while they ran this job (the last was {worker}); it is not tried again"
        return _failed(job, Failure("WorkerLost", message), job.failures, losses)
    told = {"in": 0.0, "type": "WorkerLost", "message": f"{worker} died while it ran this job", "losses": losses}
    return _again(job, NewEvent("retrying", told), None, losses=losses)


def cancelled(job: Standing) -> Step | None:
    """A cancellation is asked for: the step of a waiting job, None for a running one (it is told, and ends itself).

    Raises:
        WrongState: the job has ended.
    """
    if job.state.terminal:
        raise WrongState(f"the job has already {_ended(job.state)}; only a waiting or running job can be cancelled")
    return None if job.state is JobState.RUNNING else _cancelled(job, None)


def revived(job: Standing) -> Step:
    """An operator puts a dead letter or a cancelled job back; its counts begin anew.

    Raises:
        WrongState: the job is neither failed nor cancelled.
    """
    if job.state not in (JobState.FAILED, JobState.CANCELLED):
        raise WrongState(f"the job is {job.state.value}; only a failed or cancelled job can be put back")
    return Step(JobState.QUEUED, (NewEvent("queued", {"revived": True}),))


def overdue(job: Standing) -> Step:
    """The deadline passed before a worker could start the job."""
    failure = Failure("DeadlinePassed", "the job was not started before its deadline; it will not be")
    return _failed(job, failure, job.failures)


def _cancelled(job: Standing, failure: Failure | None) -> Step:
    event = NewEvent("cancelled", {}, terminal=True)
    return Step(JobState.CANCELLED, (event,), failures=job.failures, losses=job.losses, failure=failure)


def _failed(job: Standing, failure: Failure, failures: int, losses: int | None = None) -> Step:
    # The traceback stays in the record: followers may be anybody.
    event = NewEvent("failed", {"type": failure.type, "message": failure.message}, terminal=True)
    kept = job.losses if losses is None else losses
    return Step(JobState.FAILED, (event,), failures=failures, losses=kept, failure=failure)


def _again(job: Standing, event: NewEvent, delay: float | None, **changed: Any) -> Step:
    state = JobState.SCHEDULED if delay and delay > 0 else JobState.QUEUED
    kept = {"failures": job.failures, "losses": job.losses} | changed
    return Step(state, (event,), delay=delay if state is JobState.SCHEDULED else None, **kept)


def _ended(state: JobState) -> str:
    return {JobState.CANCELLED: "been cancelled"}.get(state, state.value)
