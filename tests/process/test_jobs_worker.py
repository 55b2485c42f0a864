"""A real job worker beside a real broker: what jobs return, raise, say, and how they are made to end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from headgate.base.errors import JobCancelled, JobFailed
from headgate.base.lifecycle import LOSSES_ALLOWED
from headgate.base.model import JobState
from headgate.declare.handle import JobHandle
from tests.support.jobs_app import Crew, crew
from tests.support.roles import RoleProcess
from tests.support.wait import until


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    with crew(tmp_path_factory.mktemp("crew"), workers=2) as hired:
        yield hired


def test_a_result_comes_back(shared: Crew) -> None:
    assert shared.app.echo.enqueue({"rows": [1, 2]}).wait(20) == {"rows": [1, 2]}
    assert shared.app.adds.enqueue(2, b=3).wait(20) == 5


def test_progress_and_log_lines_land_in_the_stream_before_the_result(shared: Crew) -> None:
    handle = shared.app.steps.enqueue(5)
    events = list(shared.bridge.follow(handle.stream, timeout=20))
    assert [event.offset for event in events] == list(range(1, len(events) + 1))
    assert [event.data["message"] for event in events if event.kind == "log"] == [f"step {n}" for n in range(1, 6)]
    progress = [event.data for event in events if event.kind == "progress"]
    assert progress[-1] == {"done": 5, "total": 5}
    assert events[-1].kind == "result"


def test_a_failure_is_retried_until_it_succeeds(shared: Crew) -> None:
    handle = shared.app.fails_until.enqueue(3)
    assert handle.wait(20) == 3
    assert handle.get().failures == 2


def test_a_failure_keeps_its_traceback_from_the_users_code_on(shared: Crew) -> None:
    handle = shared.app.fails.enqueue()
    with pytest.raises(JobFailed, match="KeyError"):
        handle.wait(20)
    failure = handle.get().failure
    assert failure is not None
    assert 'raise KeyError("the row is missing")' in failure.traceback
    assert "headgate/" not in failure.traceback


@pytest.mark.parametrize(("call", "kind"), [("large", "ResultTooLarge"), ("strange", "BadResult")])
def test_a_result_that_cannot_be_kept_says_that_the_work_was_done(shared: Crew, call: str, kind: str) -> None:
    handle = getattr(shared.app, call).enqueue(*([2 << 20] if call == "large" else []))
    with pytest.raises(JobFailed, match="the job was done"):
        handle.wait(20)
    failure = handle.get().failure
    assert failure is not None
    assert failure.type == kind


@pytest.mark.parametrize("call", ["sleeps", "sleeps_async"])
def test_a_timeout_interrupts_the_job_where_it_waits(shared: Crew, call: str) -> None:
    began = time.monotonic()
    handle = getattr(shared.app, call).enqueue(60)
    with pytest.raises(JobFailed, match="timeout of"):
        handle.wait(20)
    assert time.monotonic() - began < 20
    failure = handle.get().failure
    assert failure is not None
    assert failure.type == "JobTimeout"
    # The worker lives on.
    assert shared.app.echo.enqueue(1).wait(20) == 1
    if call == "sleeps_async":
        assert "cleaned up" in shared.ledger()


def test_a_running_job_is_cancelled_promptly(shared: Crew) -> None:
    handle = shared.app.write.enqueue("cancel me", 60)
    until(lambda: "cancel me" in shared.ledger(), "the job runs")
    assert handle.cancel() is JobState.RUNNING
    with pytest.raises(JobCancelled):
        handle.wait(20)


def test_a_job_may_enqueue(shared: Crew) -> None:
    inner = shared.app.enqueues.enqueue().wait(20)
    until(lambda: (record := shared.bridge.get(inner)) is not None and record.state is JobState.SUCCEEDED, "inner")


def test_a_job_may_ask_to_be_run_again(shared: Crew) -> None:
    handle = shared.app.asks_again.enqueue()
    assert handle.wait(20) == 3
    assert handle.get().failures == 0


def test_a_chain_and_a_group_hand_their_results_on(shared: Crew) -> None:
    echo, total = shared.app.echo, shared.app.total
    assert shared.app.gate.chain(echo.prepared(4), total.prepared(), total.prepared()).wait(20) == 4
    handle = shared.app.gate.group([echo.prepared(n) for n in range(5)], then=total.prepared())
    assert handle.wait(20) == 10
    progress = [event.data for event in shared.bridge.read(handle.stream).events if event.kind == "progress"]
    assert progress[-1] == {"done": 5, "total": 5}


def test_layers_are_an_onion(shared: Crew) -> None:
    shared.app.write.options(tags=("layered",)).enqueue("core").wait(20)
    ledger = [line for line in shared.ledger() if line in ("outer in", "inner", "core", "outer out")]
    assert ledger == ["outer in", "inner", "core", "outer out"]


def test_crons_of_the_app_are_known_to_the_engine(shared: Crew) -> None:
    (one,) = shared.bridge.call(shared.bridge.engine.operations.crons)
    assert (one[0], one[1].name, one[1].expression) == ("jobsapp:app", "jobsapp:ticks", "* * * * *")


def test_many_short_jobs_all_run(shared: Crew) -> None:
    handles = shared.app.echo.enqueue_many([[n] for n in range(2_000)])
    assert [handle.wait(30) for handle in handles] == list(range(2_000))


def test_the_worker_tells_what_it_runs(shared: Crew) -> None:
    handle = shared.app.write.enqueue("shown", 2)
    until(lambda: "shown" in shared.ledger(), "the job runs")
    stats = shared.worker_running(handle.id).wait_stats(lambda stats: stats.get("job") == handle.id)
    assert stats["function"] == "jobsapp:write"
    handle.wait(20)


def test_a_function_that_takes_lists_is_given_them(shared: Crew) -> None:
    handles = shared.app.adds_up.enqueue_many([[n] for n in range(20)])
    for n, handle in enumerate(handles):
        if n == 13:
            with pytest.raises(JobFailed, match="thirteen"):
                handle.wait(20)
        else:
            assert handle.wait(20) == n + 1
    calls = [int(line.split()[-1]) for line in shared.ledger() if line.startswith("list of")]
    assert sum(calls) == 20
    assert len(calls) < 20


def test_pickle_carries_what_msgpack_cannot_when_the_function_asks_for_it(shared: Crew) -> None:
    assert shared.app.takes_anything.enqueue({1, 2}).wait(20) == "set"
    assert shared.app.takes_anything.enqueue(value=complex(1, 2)).wait(20) == "complex"


def test_pickled_arguments_are_not_rebuilt_for_a_function_that_did_not_ask(shared: Crew) -> None:
    pickled = shared.app.takes_anything.spec(({1},), {})
    job = msgspec.structs.replace(pickled, function="jobsapp:echo")
    shared.bridge.put([job])
    with pytest.raises(JobFailed, match="were pickled"):
        JobHandle(job.id).wait(20)


def test_one_of_a_list_that_kills_the_worker_takes_no_other_along(tmp_path: Path) -> None:
    with crew(tmp_path, workers=0) as hired:
        handles = hired.app.dies_of_seven.enqueue_many([[n] for n in range(5, 10)])
        for _ in range(LOSSES_ALLOWED + 1):
            hired.start_worker().process.wait(20)
        hired.start_worker()
        for n, handle in zip(range(5, 10), handles, strict=True):
            if n == 7:
                with pytest.raises(JobFailed, match="job workers died"):
                    handle.wait(30)
            else:
                handle.wait(30)
                assert handle.get().losses <= 1
        told = [event.kind for event in hired.bridge.read(handles[0].stream).events]
        assert {"log", "progress"} <= set(told)


def test_a_job_that_will_not_end_is_killed_with_its_process(tmp_path: Path) -> None:
    with crew(tmp_path, workers=1) as hired:
        handle = hired.app.holds_on.enqueue()
        with pytest.raises(JobFailed, match="was killed"):
            handle.wait(30)
        assert hired.workers[0].process.wait(10) == 86


def test_a_stop_lets_the_job_end_and_hands_back_the_others(tmp_path: Path) -> None:
    with crew(tmp_path, workers=1) as hired:
        running = hired.app.write.enqueue("first", 1)
        waiting = hired.app.write.enqueue("second")
        until(lambda: hired.ledger() == ["first"], "the first job runs")
        assert hired.workers[0].stop(20) == 0
        assert running.get().state is JobState.SUCCEEDED
        assert (waiting.get().state, waiting.get().tries) == (JobState.QUEUED, 0)


def test_a_job_too_long_for_the_stop_is_handed_back_with_its_checkpoint(tmp_path: Path) -> None:
    with crew(tmp_path, workers=1) as hired:
        handle = hired.app.counts_on.enqueue(10_000)
        until(lambda: hired.ledger() == ["from 0"], "the job runs")
        assert hired.workers[0].stop(2) == 0
        record = handle.get()
        assert (record.state, record.tries) == (JobState.QUEUED, 0)
        hired.start_worker()
        until(lambda: len(hired.ledger()) == 2, "the job runs again")
        assert int(hired.ledger()[1].split()[1]) > 0


def test_a_worker_is_replaced_after_so_many_jobs(tmp_path: Path) -> None:
    with crew(tmp_path, workers=1, job_max_jobs=3) as hired:
        handles = [hired.app.echo.enqueue(n) for n in range(5)]
        assert hired.workers[0].process.wait(20) == 0
        hired.start_worker()
        assert [handle.wait(20) for handle in handles] == list(range(5))


def test_a_recycled_worker_hands_back_only_what_it_had_not_begun(tmp_path: Path) -> None:
    """Many jobs leased ahead, a fresh process after each few: nothing is interrupted, run twice or counted as a try."""
    with crew(tmp_path, workers=1, job_max_jobs=20) as hired:
        handles = hired.app.write.enqueue_many([[f"line {n}"] for n in range(100)])
        while hired.bridge.stats()["default"].get("succeeded", 0) < 100:
            hired.workers[-1].process.wait(30)
            hired.start_worker()
        assert sorted(hired.ledger()) == sorted(f"line {n}" for n in range(100))
        records = [handle.get() for handle in handles]
        assert {(record.tries, record.losses) for record in records} == {(1, 0)}


def test_a_worker_that_has_grown_too_large_is_replaced(tmp_path: Path) -> None:
    with crew(tmp_path, workers=1, job_max_memory=1 << 20) as hired:
        assert hired.app.echo.enqueue(1).wait(20) == 1
        assert hired.workers[0].process.wait(20) == 0


def test_an_app_that_does_not_import_is_a_boot_failure(tmp_path: Path) -> None:
    with crew(tmp_path, workers=0) as hired:
        (tmp_path / "jobsapp.py").write_text("import nothing_of_that_name")
        worker = RoleProcess("jobs", hired.settings, tmp_path)
        hired.workers.append(worker)
        failed = worker.wait_failed()
        assert "nothing_of_that_name" in failed.message + failed.traceback
        assert worker.process.returncode == 3


def test_a_stopped_worker_loses_its_lease_and_its_late_result_is_refused(tmp_path: Path) -> None:
    with crew(tmp_path, workers=1, job_lease=1.0) as hired:
        handle = hired.app.write.enqueue("once more", 0.5)
        until(lambda: hired.ledger() == ["once more"], "the job runs")
        frozen = hired.workers[0].process.pid
        os.kill(frozen, signal.SIGSTOP)
        hired.start_worker()
        result = handle.wait(20)
        os.kill(frozen, signal.SIGCONT)
        assert result == hired.workers[1].process.pid
        assert hired.app.echo.enqueue(1).wait(20) == 1
        assert handle.get().result is not None
        assert handle.get().tries == 2
