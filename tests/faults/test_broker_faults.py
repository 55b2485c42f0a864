"""The broker is killed, its disk is full, its folder is taken: nothing acknowledged is lost, and it says why."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headgate.base.errors import HeadgateError, Unavailable
from headgate.base.model import JobState
from headgate.config.settings import Settings
from headgate.drivers.local import schema
from tests.support.contract import spec
from tests.support.jobs_app import Crew, crew
from tests.support.roles import RoleProcess
from tests.support.small_disk import Disk, small_disk
from tests.support.stepped_clock import SteppedClock
from tests.support.wait import until


def test_kill_9_under_load_loses_nothing_acknowledged(tmp_path: Path) -> None:
    with crew(tmp_path, workers=2) as hired:
        acknowledged: list[str] = []
        stop = threading.Event()
        producers = [threading.Thread(target=_produce, args=(hired, stop, acknowledged, n)) for n in range(3)]
        for producer in producers:
            producer.start()
        for _ in range(4):
            _accepts_more(acknowledged)
            hired.broker.kill()
            hired.restart_broker()
        stop.set()
        for producer in producers:
            producer.join(20)

        def all_done() -> bool:
            counts = hired.bridge.stats()["default"]
            return set(counts) == {"succeeded"}

        until(all_done, "everything has run", seconds=40)
        done = set(hired.ledger())
        assert [line for line in acknowledged if line not in done] == []
        for record in hired.bridge.find(most=1_000):
            events = hired.bridge.read(record.stream).events
            assert [event.offset for event in events] == list(range(1, len(events) + 1))
            assert events[0].kind == "queued"
            assert events[-1].terminal
            assert not any(event.terminal for event in events[:-1])


def _accepts_more(acknowledged: list[str]) -> None:
    before = len(acknowledged)
    until(lambda: len(acknowledged) > before + 50, "jobs are accepted")


def _produce(hired: Crew, stop: threading.Event, acknowledged: list[str], number: int) -> None:
    count = 0
    while not stop.is_set():
        line = f"{number}-{count}"
        count += 1
        try:
            hired.app.write.enqueue(line)
        except HeadgateError:
            continue
        acknowledged.append(line)


def test_a_running_job_is_not_disturbed_by_the_brokers_death(tmp_path: Path) -> None:
    with crew(tmp_path, workers=1) as hired:
        handle = hired.app.write.enqueue("long", 1.5)
        until(lambda: hired.ledger() == ["long"], "the job runs")
        hired.broker.kill()
        hired.restart_broker()
        handle.wait(20)
        assert hired.ledger() == ["long"]
        assert handle.get().tries == 1


def test_after_the_death_of_everything_jobs_do_not_wait_for_their_leases(tmp_path: Path) -> None:
    with crew(tmp_path, workers=1, job_lease=600.0) as hired:
        handle = hired.app.write.enqueue("power", 1)
        until(lambda: hired.ledger() == ["power"], "the job runs")
        hired.broker.kill()
        hired.workers[0].kill()
        hired.broker = RoleProcess("broker", hired.settings, tmp_path).wait_ready()
        hired.start_worker()
        handle.wait(30)
        assert hired.ledger() == ["power", "power"]


def test_a_follower_sees_no_gap_and_no_repetition(tmp_path: Path) -> None:
    with crew(tmp_path, workers=1) as hired:
        handle = hired.app.counts_on.enqueue(100)
        seen = []
        for event in hired.bridge.follow(handle.stream, timeout=30):
            seen.append(event)
            if len(seen) == 2:
                hired.broker.kill()
                hired.restart_broker()
        assert [event.offset for event in seen] == list(range(1, len(seen) + 1))
        assert seen[-1].terminal


def test_without_a_broker_a_put_fails_in_time_and_says_why(tmp_path: Path) -> None:
    with crew(tmp_path, workers=0) as hired:
        hired.broker.kill()
        with pytest.raises(Unavailable, match="broker does not answer"):
            hired.app.echo.enqueue(1)
        hired.restart_broker()
        hired.app.echo.enqueue(1)


def test_a_full_disk_refuses_and_loses_nothing_and_recovers(tmp_path: Path) -> None:
    with _on_small_disk(tmp_path, workers=0) as (hired, disk):
        disk.fill(leave=2 << 20)
        accepted: list[str] = []
        with pytest.raises(Unavailable, match="free space"):
            _fill(hired, accepted)
        assert accepted
        with pytest.raises(Unavailable):
            hired.bridge.put([spec("jobsapp:echo", tags=("x" * 20_000,))])
        assert hired.bridge.get(accepted[-1]) is not None
        disk.free()
        job = spec("jobsapp:echo")
        hired.bridge.put([job])
        hired.broker.kill()
        hired.restart_broker()
        found = {record.id for record in hired.bridge.find(most=1_000)}
        assert found == {*accepted, job.id}


@contextmanager
def _on_small_disk(folder: Path, workers: int) -> Iterator[tuple[Crew, Disk]]:
    hired: list[Crew] = []
    with (
        small_disk(folder / "data", lambda: hired[0].broker.process.pid, mib=12) as disk,
        crew(folder, workers) as made,
    ):
        hired.append(made)
        yield made, disk


def _fill(hired: Crew, accepted: list[str]) -> None:
    while True:
        job = spec("jobsapp:echo", tags=("x" * 20_000,))
        hired.bridge.put([job])
        accepted.append(job.id)


def test_results_wait_in_the_worker_while_the_disk_is_full(tmp_path: Path) -> None:
    with _on_small_disk(tmp_path, workers=1) as (hired, disk):
        handle = hired.app.write.enqueue("done", 0.5)
        until(lambda: hired.ledger() == ["done"], "the job runs")
        disk.fill()
        _until_it_refuses(hired)
        hired.broker.wait_stats(lambda stats: stats.get("failing"))
        disk.free()
        handle.wait(20)
        assert handle.get().tries == 1


def _until_it_refuses(hired: Crew) -> None:
    """What room SQLite has set aside for itself is used up too."""
    with pytest.raises(Unavailable, match="free space"):
        _fill(hired, [])


def test_the_clock_is_stepped_and_nothing_is_lost_nor_run_twice(tmp_path: Path) -> None:
    clock = SteppedClock(tmp_path)
    with crew(tmp_path, workers=2, clock=clock, job_lease=2.0) as hired:
        running = hired.app.write.enqueue("running", 3)
        later = hired.app.write.options(delay=1_800).enqueue("later")
        until(lambda: "running" in hired.ledger(), "the job runs")
        clock.step(-7_200)
        assert hired.app.echo.enqueue(1).wait(20) == 1
        clock.step(14_400)
        later.wait(20)
        running.wait(20)
        clock.step(-7_200)
        assert hired.app.echo.enqueue(2).wait(20) == 2
        lines = [line for line in hired.ledger() if line != "tick"]
        assert sorted(lines) == ["later", "running"]
        assert (running.get().tries, later.get().tries) == (1, 1)
        # The crons of two hours were made up for once each; the hours that came again made no second run.
        until(lambda: _ended(hired, "jobsapp:ticks") >= 120, "the missed moments are made up for", seconds=40)
        keys = [record.spec.idempotency_key for record in hired.bridge.find(function="jobsapp:ticks", most=1_000)]
        assert len(keys) == len(set(keys))


def _ended(hired: Crew, function: str) -> int:
    return len(hired.bridge.find(states=[JobState.SUCCEEDED], function=function, most=1_000))


def test_a_second_broker_on_the_folder_is_refused_and_names_the_first(tmp_path: Path) -> None:
    with crew(tmp_path, workers=0) as hired:
        second = RoleProcess("broker", hired.settings, tmp_path)
        failed = second.wait_failed()
        second.close()
        assert failed.config
        assert f"pid {hired.broker.process.pid}" in failed.message
        hired.app.echo.enqueue(1)


def test_a_path_too_long_for_a_socket_is_a_clear_error(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    broker = RoleProcess("broker", Settings(data=str(deep)), tmp_path)
    failed = broker.wait_failed()
    broker.close()
    assert failed.config
    assert "--data" in failed.message


@pytest.mark.parametrize("kind", ["newer", "foreign", "garbage"])
def test_a_database_that_is_not_ours_is_left_alone(tmp_path: Path, kind: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    path = data / "broker.db"
    if kind == "garbage":
        path.write_bytes(b"not a database at all, " * 500)
    else:
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE mine (x)")
            if kind == "newer":
                db.execute(f"PRAGMA application_id = {schema.APPLICATION}")
                db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
        db.close()
    before = path.read_bytes()
    broker = RoleProcess("broker", Settings(data=str(data)), tmp_path)
    failed = broker.wait_failed()
    broker.close()
    assert failed.config
    assert {"newer": "newer Headgate", "foreign": "not one of Headgate", "garbage": "damaged"}[kind] in failed.message
    assert path.read_bytes()[100:] == before[100:]
