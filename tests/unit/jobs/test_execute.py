"""One job's call and what is said of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from headgate.base.errors import JobCancelled, JobHandedBack, Unavailable
from headgate.base.model import Claim, JobRecord, JobSpec, JobState, NewEvent, Outcome
from headgate.declare.job import Batching
from headgate.jobs.execute import Executor, describe
from headgate.jobs.interrupt import Interrupts
from headgate.jobs.run import Run, Work


class Declared:
    """A job function as `declare.job` makes them, as far as the executor needs it."""

    def __init__(self, function: Callable[..., Any], gives_up: bool = False) -> None:
        self._function = function
        self._gives_up = gives_up

    batching: Batching | None = None

    def arguments(self, raw: bytes) -> Any:
        return msgspec.msgpack.decode(raw)

    def together(self, contexts: Any) -> Any:
        return contexts

    def call_together(self, context: Any, calls: Any) -> Any:
        return self._function([args[0] for args, _ in calls])

    def call(self, context: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
        return self._function(*args, **kwargs)

    def gives_up(self, exc: BaseException) -> bool:
        return self._gives_up


def run_of(*args: Any, cancel: bool = False, **kwargs: Any) -> Run:
    arguments = msgspec.msgpack.encode([args, kwargs])
    spec = JobSpec(id="1", function="m:f", arguments=arguments)
    record = JobRecord(spec=spec, state=JobState.RUNNING, epoch=3, cancel_requested=cancel)
    return Run(Claim(record, 15.0), lambda run: None, lambda run, checkpoint: None)


def execute(function: Callable[..., Any], run: Run, gives_up: bool = False, most: int = 1000) -> Any:
    functions = {"m:f": Declared(function, gives_up)}
    return Executor(functions, lambda record, side: side, Interrupts(), most)(Work([run]))[0]


def raises(exc: BaseException) -> Callable[[], None]:
    def function() -> None:
        raise exc

    return function


def test_a_result_is_packed_with_what_it_cost() -> None:
    said = execute(lambda a, b: {"sum": a + b}, run_of(1, b=2))
    assert (said.outcome, msgspec.msgpack.decode(said.result)) == (Outcome.SUCCEEDED, {"sum": 3})
    assert (said.id, said.epoch) == ("1", 3)
    assert said.cpu >= 0
    assert said.peak_rss > 1_000_000


@pytest.mark.parametrize(
    ("exc", "gives_up", "outcome"),
    [
        (ValueError("no"), False, Outcome.FAILED),
        (ValueError("no"), True, Outcome.GIVE_UP),
        (SystemExit(2), False, Outcome.FAILED),
        (KeyboardInterrupt(), False, Outcome.FAILED),
        (JobHandedBack("stop"), False, Outcome.RELEASED),
        (JobCancelled("nobody asked"), False, Outcome.FAILED),
    ],
)
def test_what_is_raised_decides(exc: BaseException, gives_up: bool, outcome: Outcome) -> None:
    said = execute(raises(exc), run_of(), gives_up)
    assert said.outcome is outcome
    if outcome is not Outcome.RELEASED:
        assert type(exc).__name__ in said.failure.type
        assert "raise exc" in said.failure.traceback


def test_a_cancellation_that_was_asked_for_is_one() -> None:
    run = run_of()

    def function() -> None:
        run.cancel_requested = True
        raise JobCancelled("asked")

    assert execute(function, run).outcome is Outcome.CANCELLED


def test_a_job_cancelled_before_it_begins_is_not_called() -> None:
    assert execute(raises(AssertionError("called")), run_of(cancel=True)).outcome is Outcome.CANCELLED


def test_results_that_cannot_be_kept() -> None:
    large = execute(lambda: "x" * 2000, run_of())
    assert (large.outcome, large.failure.type) == (Outcome.GIVE_UP, "ResultTooLarge")
    strange = execute(object, run_of())
    assert (strange.outcome, strange.failure.type) == (Outcome.GIVE_UP, "BadResult")


def test_very_long_messages_are_cut() -> None:
    failure = describe(ValueError("x" * 100_000))
    assert len(failure.message) < 2_200
    assert "left out" in failure.message


def test_events_wait_in_order_with_the_newest_progress_last() -> None:

    run = run_of()
    for n in range(3):
        run.emit(NewEvent("progress", {"done": n}))
        run.emit(NewEvent("log", {"message": str(n)}))
    events = run.pending()
    assert [event.kind for event in events] == ["log", "log", "log", "progress"]
    assert msgspec.msgpack.decode(events[-1].data) == {"done": 2}
    assert not run.has_pending()
    run.emit(NewEvent("log", {"message": "3"}))
    run.put_back(events)
    told = [msgspec.msgpack.decode(event.data) for event in run.pending()]
    assert [data.get("message") for data in told] == ["0", "1", "2", "3", None]


def test_while_the_engine_is_away_a_job_can_say_no_more_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.jobs.run.PATIENCE", 0.0)
    monkeypatch.setattr("headgate.jobs.run.PENDING", 10)
    run, said = run_of(), 0
    for _ in range(20):  # each time, sending is tried, and fails
        events = run.pending()
        with contextlib.suppress(Unavailable):
            while True:
                run.emit(NewEvent("log", {"n": said}))
                said += 1
        run.put_back(events)
    assert said <= 20
    told = [msgspec.msgpack.decode(event.data)["n"] for event in run.pending()]
    assert told == list(range(said))
    run.sent()
    run.emit(NewEvent("log", {"n": said}))  # there is room again
