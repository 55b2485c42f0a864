"""Jobs that ordinary RQ workers run, with all that Headgate's own have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis as Client
from rq import Queue
from rq.job import Job

from headgate.base.errors import ConfigError, JobCancelled, JobFailed, UnknownJob
from headgate.base.model import JobState
from headgate.drivers.memory import MemoryEngine
from headgate.roles import carried as roles_carried
from headgate.rq import watch
from tests.support.carried_app import Carried, carried
from tests.support.contract import spec
from tests.support.wait import until

LEASE = 8.0
"""Seconds: what a busy machine can keep to, and a test can wait for."""


@pytest.fixture
def rq(workdir: Path, redis_url: str) -> Iterator[Carried]:
    with carried(workdir, "rq", redis_url, job_lease=LEASE) as made:
        yield made


def start_worker(rq: Carried) -> None:
    rq.start_worker("rq.cli", "worker", "-q", "--url", rq.url, "default")


def test_progress_log_and_result_come_from_an_rq_worker(rq: Carried) -> None:
    start_worker(rq)
    handle = rq.app.steps.enqueue(3)
    assert handle.wait(60)["pid"] != rq.workers[0].pid  # RQ forks for each job
    events = rq.bridge.read(handle.stream, 0).events
    kinds = [event.kind for event in events]
    assert kinds[:2] == ["queued", "started"]
    assert kinds[-1] == "result"
    assert {"log", "progress"} <= set(kinds)
    record = rq.bridge.get(handle.id)
    assert record is not None
    assert "/rq-" in str(record.worker)
    # To RQ it is a job like any other, with the result that it returned.
    with Client.from_url(rq.url) as connection:
        job = Job.fetch(handle.id, connection=connection)
        until(lambda: job.get_status(refresh=True) == "finished", "RQ knows that it is done")
        assert job.return_value() == handle.wait(1)


def test_retries_and_failures_are_headgates(rq: Carried) -> None:
    start_worker(rq)
    assert rq.app.fails_until.enqueue(3).wait(60) == 3
    handle = rq.app.fails.enqueue()
    with pytest.raises(JobFailed, match="the row is missing"):
        handle.wait(60)
    with Client.from_url(rq.url) as connection:
        job = Job.fetch(handle.id, connection=connection)
        until(lambda: job.get_status(refresh=True) == "failed", "RQ shows it as failed")


def test_a_cancelled_job_ends_in_the_rq_worker(rq: Carried) -> None:
    waiting = rq.app.waits.enqueue("never", 0)
    assert rq.bridge.cancel(waiting.id) is JobState.CANCELLED
    start_worker(rq)
    running = rq.app.waits.enqueue("runs", 60)
    until(lambda: rq.ledger() == ["runs"], "it runs", seconds=60)
    assert rq.bridge.cancel(running.id) is JobState.RUNNING
    with pytest.raises(JobCancelled):
        running.wait(30)
    assert rq.app.steps.enqueue(1).wait(30)
    assert rq.ledger() == ["runs"]


def test_a_job_of_killed_rq_workers_is_found_by_its_lease(rq: Carried) -> None:
    start_worker(rq)
    handle = rq.app.held_up_once.enqueue("line")
    until(lambda: len(rq.ledger()) == 1, "it runs", seconds=60)
    rq.kill_tree(rq.workers[0])
    start_worker(rq)
    # RQ itself would call it failed. The lease is 8 s here, 15 s by default.
    assert handle.wait(30) == 2


def test_a_ticket_that_was_lost_is_sent_again(rq: Carried) -> None:
    handle = rq.app.steps.enqueue(1)
    with Client.from_url(rq.url) as connection:
        until(lambda: connection.llen("rq:queue:default") == 1, "the ticket is there")
        connection.delete("rq:queue:default")
    start_worker(rq)
    assert handle.wait(60)


def test_our_own_workers_leave_it_alone(rq: Carried) -> None:
    handle = rq.app.steps.enqueue(1)
    ours = rq.app.ours.enqueue()
    engine = rq.bridge.engine
    claims = rq.bridge.call(engine.source.take, "w", ["*"], 5)
    assert [claim.job.id for claim in claims] == [ours.id]
    assert rq.bridge.get(handle.id).state is JobState.QUEUED  # type: ignore[union-attr]


@pytest.mark.parametrize(("line", "error"), [("1 / 0", ConfigError), ("raise SystemExit(3)", SystemExit)])
def test_a_job_whose_code_does_not_load_here_goes_back_at_once(
    rq: Carried, monkeypatch: pytest.MonkeyPatch, line: str, error: type[BaseException]
) -> None:
    (rq.folder / "broken_here.py").write_text(line)
    monkeypatch.setattr(roles_carried, "_connect", lambda broker: (rq.bridge, rq.settings))
    [receipt] = rq.bridge.put([spec(function="broken_here:job", carrier="rq")])
    with pytest.raises(error):
        roles_carried.run(receipt.id, "rq", None)
    record = rq.bridge.get(receipt.id)
    assert record is not None
    assert (record.state, record.tries, record.worker) == (JobState.SCHEDULED, 0, None)


THEIRS = """
import time
from rq import get_current_job

def reports(to):
    job = get_current_job()
    for n in range(to):
        job.meta["progress"] = n + 1
        job.save_meta()
        time.sleep(0.6)
    return {"n": to}

def fails():
    raise ValueError("no such table")
"""


def test_their_own_jobs_are_followed_by_id(rq: Carried) -> None:
    (rq.folder / "theirs.py").write_text(THEIRS)
    start_worker(rq)
    with Client.from_url(rq.url) as connection:
        queue = Queue(connection=connection)
        stream = watch(queue.enqueue("theirs.reports", 2).id, url=rq.url)
        events = list(rq.bridge.follow(stream, 0, timeout=60))
        kinds = [event.kind for event in events]
        assert kinds[:2] == ["queued", "started"]
        assert "progress" in kinds
        assert events[-1].data == {"result": {"n": 2}}
        stream = watch(queue.enqueue("theirs.fails").id, url=rq.url)
        end = list(rq.bridge.follow(stream, 0, timeout=60))[-1]
        assert (end.kind, end.data, end.terminal) == (
            "failed",
            {"type": "ValueError", "message": "no such table"},
            True,
        )
    with pytest.raises(UnknownJob, match="RQ has no job"):
        watch("nothing", url=rq.url)


@pytest.mark.anyio
async def test_a_broker_of_our_own_refuses_what_it_cannot_carry() -> None:
    engine = MemoryEngine()
    await engine.open()
    with pytest.raises(ConfigError, match="redis://"):
        await engine.sink.put([spec(carrier="rq")])
    await engine.close()
