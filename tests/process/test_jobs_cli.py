"""`headgate jobs` and `headgate queues` against a real broker and a job worker."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.base.errors import QueueFull
from headgate.base.model import JobState
from tests.support.jobs_app import Crew, crew
from tests.support.wait import until


@pytest.fixture(scope="module")
def hired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    with crew(tmp_path_factory.mktemp("cli"), workers=1) as made:
        yield made


def headgate(hired: Crew, *words: str, code: int = 0) -> str:
    """Run a command; its output."""
    command = [sys.executable, "-m", "headgate", *words, "--data", hired.settings.data]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=Path(hired.folder))
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_paused_queue_waits_for_its_resume(hired: Crew) -> None:
    assert "paused" in headgate(hired, "queues", "pause", "night")
    handle = hired.app.echo.options(queue="night").enqueue(1)
    hired.app.echo.enqueue(2).wait(20)
    assert handle.get().state is JobState.QUEUED
    listed = json.loads(headgate(hired, "queues", "ls", "--json"))
    assert listed["night"]["jobs"] == {"queued": 1}
    assert listed["night"]["rules"]["paused"] is True
    headgate(hired, "queues", "resume", "night")
    assert handle.wait(20) == 1


def test_drain_closes_the_queue_and_waits_for_its_jobs(hired: Crew) -> None:
    handle = hired.app.write.options(queue="old").enqueue("draining", 0.5)
    until(lambda: "draining" in hired.ledger(), "the job runs")
    assert "is empty" in headgate(hired, "queues", "drain", "old")
    assert handle.get().state is JobState.SUCCEEDED
    with pytest.raises(QueueFull):
        hired.app.echo.options(queue="old").enqueue(1)
    headgate(hired, "queues", "resume", "old")
    hired.app.echo.options(queue="old").enqueue(1).wait(20)


def test_a_drain_that_takes_too_long_says_so(hired: Crew) -> None:
    handle = hired.app.write.options(queue="slow").enqueue("slow", 30)
    assert "stays closed" in headgate(hired, "queues", "drain", "slow", "--timeout", "0.3", code=1)
    handle.cancel()
    headgate(hired, "queues", "resume", "slow")


def test_bounds_are_set_and_taken_away(hired: Crew) -> None:
    assert "slots 2, rate 5" in headgate(hired, "queues", "set", "bulk", "--slots", "2", "--rate", "5")
    assert "slots" not in headgate(hired, "queues", "set", "bulk", "--unset", "slots")
    assert "say what to set" in headgate(hired, "queues", "set", "bulk", code=2)


def test_stats_watch_and_purge(hired: Crew) -> None:
    hired.app.echo.options(queue="counted").enqueue(1).wait(20)
    assert json.loads(headgate(hired, "jobs", "stats", "--json"))["counted"] == {"succeeded": 1}
    assert "counted" in headgate(hired, "jobs", "stats")
    looks = headgate(hired, "jobs", "watch", "--json", "--looks", "2", "--every", "0.1").splitlines()
    assert [json.loads(look)["jobs"]["counted"] for look in looks] == [{"succeeded": 1}] * 2
    assert "1 jobs forgotten" in headgate(hired, "jobs", "purge", "--state", "succeeded", "--queue", "counted")
    assert "counted" not in json.loads(headgate(hired, "jobs", "stats", "--json"))


def test_without_a_server_it_says_so_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "headgate", "jobs", "ls", "--data", str(tmp_path / "nothing" / ("x" * 300))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "does not run on the data folder" in done.stderr
    assert "headgate run" in done.stderr
    assert "x" * 100 not in done.stderr


def test_the_live_view_and_a_card_show_what_happened(hired: Crew) -> None:
    handle = hired.app.fails.options(queue="seen").enqueue()
    until(lambda: handle.get().state is JobState.FAILED, "the job has failed")
    looked = headgate(hired, "jobs", "watch", "--looks", "1")
    assert "jobs end per second" in looked
    assert "KeyError" in looked
    shown = headgate(hired, "jobs", "show", handle.id)
    assert "s CPU, peak memory" in shown
    listed = json.loads(headgate(hired, "jobs", "ls", "--queue", "seen", "--json"))
    assert (listed["id"], listed["failure"]["traceback"]) == (handle.id, "")
    assert "arguments" not in listed
