"""Job workers that die: the job runs again at once; one that kills every worker ends in the dead letters."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headgate.base.errors import JobFailed
from headgate.base.lifecycle import LOSSES_ALLOWED
from headgate.base.model import JobState
from tests.support.jobs_app import Crew, crew
from tests.support.wait import until


def test_a_killed_workers_job_runs_again_at_once(tmp_path: Path) -> None:
    with crew(tmp_path, workers=2) as hired:
        took = []
        for n in range(5):
            handle = hired.app.write.enqueue(f"job {n}", 0.3)
            until(_runs(hired, f"job {n}", 1), "the job runs")
            hired.worker_running(handle.id).kill()
            began = time.monotonic()
            until(_runs(hired, f"job {n}", 2), "the job runs again", every=0.005)
            took.append(time.monotonic() - began)
            handle.wait(20)
            assert (handle.get().tries, handle.get().losses) == (2, 1)
            hired.start_worker()
        # Not a timing: the lease alone would bring it back after 15 s.
        assert max(took) < 10


def _runs(hired: Crew, line: str, times: int) -> Callable[[], bool]:
    return lambda: hired.ledger().count(line) == times


def test_a_death_that_only_the_supervisor_sees(tmp_path: Path) -> None:
    """A child that a job forked keeps the dead worker's connection open; the notice brings the job back."""
    with crew(tmp_path, workers=1) as hired:
        handle = hired.app.write.enqueue("running", 60)
        until(lambda: hired.ledger() == ["running"], "the job runs")
        hired.broker.tell("worker_died", {"name": hired.workers[0].name, "role": "jobs", "lane": None})
        until(lambda: handle.get().epoch > 1, "the job was taken from the worker")
        assert handle.get().losses == 1


def test_a_job_that_exits_its_process_ends_in_the_dead_letters(tmp_path: Path) -> None:
    with crew(tmp_path, workers=0) as hired:
        bystander = hired.app.echo.options(priority=-1).enqueue("still here")
        handle = hired.app.dies.enqueue()
        for _ in range(LOSSES_ALLOWED + 1):
            hired.start_worker().process.wait(20)
        with pytest.raises(JobFailed, match="job workers died"):
            handle.wait(20)
        assert hired.ledger() == ["dies"] * (LOSSES_ALLOWED + 1)
        hired.start_worker()
        assert bystander.wait(20) == "still here"
        assert bystander.get().losses == 0


def test_jobs_leased_ahead_are_not_blamed_for_the_one_that_kills(tmp_path: Path) -> None:
    with crew(tmp_path, workers=1) as hired:
        hired.app.echo.enqueue_many([[n] for n in range(300)])
        hired.app.dies.enqueue()
        after = hired.app.echo.enqueue_many([[n] for n in range(300)])
        for _ in range(LOSSES_ALLOWED + 1):
            hired.workers[-1].process.wait(20)
            hired.start_worker()
        assert [handle.wait(20) for handle in after] == list(range(300))
        assert hired.bridge.stats() == {"default": {"succeeded": 600, "failed": 1}}
        assert all(record.state is JobState.SUCCEEDED for record in hired.bridge.find(function="jobsapp:echo"))


def test_a_function_that_has_returned_before_and_kills_later_is_blamed_for_the_one_job(tmp_path: Path) -> None:
    with crew(tmp_path, workers=1) as hired:
        handles = hired.app.dies_at_fifty.enqueue_many([[n] for n in range(100)])
        for _ in range(LOSSES_ALLOWED + 1):
            hired.workers[-1].process.wait(30)
            hired.start_worker()
        for n, handle in enumerate(handles):
            if n != 50:
                assert handle.wait(30) == n
                assert handle.get().losses == 0
        with pytest.raises(JobFailed, match="job workers died"):
            handles[50].wait(30)


def test_a_segfault_is_a_lost_worker(tmp_path: Path) -> None:
    with crew(tmp_path, workers=1) as hired:
        handle = hired.app.segfaults_once.enqueue()
        assert hired.workers[0].process.wait(20) == -11
        hired.start_worker()
        assert handle.wait(20) == 2


def test_a_checkpoint_survives_the_worker(tmp_path: Path) -> None:
    with crew(tmp_path, workers=1) as hired:
        handle = hired.app.counts_on.enqueue(60)
        until(lambda: (handle.get().checkpoint or b"\0") >= b"\x14", "some steps are done", every=0.01)
        hired.workers[0].kill()
        hired.start_worker()
        assert handle.wait(20) >= 20
