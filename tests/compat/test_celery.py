"""Jobs that ordinary Celery workers run, with all that Headgate's own have; over Redis and over RabbitMQ."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from headgate.base.errors import JobCancelled, JobFailed
from headgate.base.model import JobState
from headgate.drivers.celery import warnings
from tests.support.carried_app import Carried, carried
from tests.support.rabbitmq import RabbitMQ
from tests.support.wait import until

LEASE = 8.0
"""Seconds: what a busy machine can keep to, and a test can wait for."""

APP = """
from celery import Celery
from headgate.celery import install

app = Celery("theirs", broker={broker!r})
app.conf.worker_prefetch_multiplier = 1
app.conf.task_default_queue = "default"
app.conf.result_backend = {backend!r}
install(app, follow=True)

@app.task(bind=True)
def reports(self, to):
    for n in range(to):
        self.update_state(state="PROGRESS", meta={{"done": n + 1, "total": to}})
    return {{"n": to}}

@app.task(bind=True, max_retries=1)
def fails(self):
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    raise ValueError("no such table")

@app.task
def their_own(a, b):
    with open("ledger", "a") as ledger:
        ledger.write(f"{{a + b}}\\n")
"""


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMQ]:
    """One RabbitMQ for these tests."""
    with RabbitMQ() as server:
        yield server


def hosted(folder: Path, broker: str, redis_url: str) -> AbstractContextManager[Carried]:
    """The app, with Celery over a broker."""
    (folder / "celeryapp.py").write_text(APP.format(broker=broker, backend=redis_url.replace("/0", "/2")))
    return carried(folder, "celery", redis_url, job_lease=LEASE, celery_app="celeryapp:app")


@pytest.fixture
def celery(workdir: Path, redis_url: str) -> Iterator[Carried]:
    with hosted(workdir, redis_url.replace("/0", "/1"), redis_url) as made:
        yield made


@pytest.fixture
def over_rabbitmq(workdir: Path, redis_url: str, rabbitmq: RabbitMQ) -> Iterator[Carried]:
    with hosted(workdir, rabbitmq.url, redis_url) as made:
        yield made


def start_worker(celery: Carried) -> None:
    celery.start_worker(
        "celery", "-A", "celeryapp", "worker", "-c", "1", "-l", "warning", "-Q", "default", "--without-gossip",
        "--without-mingle", env={"HEADGATE_BROKER": celery.url},
    )  # fmt: skip


@pytest.mark.parametrize("broker", ["celery", "over_rabbitmq"])
def test_progress_log_and_result_come_from_a_celery_worker(request: pytest.FixtureRequest, broker: str) -> None:
    celery: Carried = request.getfixturevalue(broker)
    start_worker(celery)
    handle = celery.app.steps.enqueue(3)
    assert handle.wait(60)["pid"] != celery.workers[0].pid
    kinds = [event.kind for event in celery.bridge.read(handle.stream, 0).events]
    assert kinds[:2] == ["queued", "started"]
    assert kinds[-1] == "result"
    assert {"log", "progress"} <= set(kinds)
    assert celery.app.fails_until.enqueue(3).wait(60) == 3
    with pytest.raises(JobFailed, match="the row is missing"):
        celery.app.fails.enqueue().wait(60)


def test_a_cancelled_job_ends_in_the_celery_worker_and_their_tasks_go_on(celery: Carried) -> None:
    start_worker(celery)
    running = celery.app.waits.enqueue("runs", 60)
    until(lambda: celery.ledger() == ["runs"], "it runs", seconds=60)
    assert celery.bridge.cancel(running.id) is JobState.RUNNING
    with pytest.raises(JobCancelled):
        running.wait(30)
    from celeryapp import their_own  # type: ignore[import-not-found] # written by this test

    their_own.delay(2, 3)
    until(lambda: celery.ledger() == ["runs", "5"], "their own task has run", seconds=30)


def test_a_job_of_killed_celery_workers_is_found_by_its_lease(celery: Carried) -> None:
    start_worker(celery)
    handle = celery.app.held_up_once.enqueue("line")
    until(lambda: len(celery.ledger()) == 1, "it runs", seconds=60)
    celery.kill_tree(celery.workers[0])
    start_worker(celery)
    # Celery itself would have lost it for ever. The lease is 8 s here, 15 s by default.
    assert handle.wait(30) == 2


def test_their_own_tasks_are_followed_by_id(celery: Carried) -> None:
    start_worker(celery)
    from celeryapp import fails, reports  # written by this test

    def told(task_id: str) -> list[tuple[str, Any]]:
        found = celery.bridge.follow(f"celery/{task_id}", 0, timeout=60)
        return [(event.kind, event.data) for event in found]

    events = told(reports.delay(2).id)
    assert [kind for kind, _ in events] == ["queued", "started", "progress", "progress", "result"]
    assert events[2][1] == {"state": "PROGRESS", "done": 1, "total": 2}
    assert events[-1][1] == {"result": {"n": 2}}
    events = told(fails.delay().id)
    assert [kind for kind, _ in events] == ["queued", "started", "retrying", "started", "failed"]
    assert events[-1][1] == {"type": "ValueError", "message": "no such table"}


def test_a_restart_of_rabbitmq_loses_no_job(over_rabbitmq: Carried, rabbitmq: RabbitMQ) -> None:
    waiting = over_rabbitmq.app.steps.enqueue(1)
    rabbitmq.kill()
    # Accepted all the same: the engine has it, and its ticket is sent when there is somebody to take it.
    meanwhile = over_rabbitmq.app.steps.enqueue(2)
    rabbitmq.restart()
    start_worker(over_rabbitmq)
    assert waiting.wait(60)
    assert meanwhile.wait(60)


def test_harmful_settings_are_named_with_their_numbers() -> None:
    app = Celery("theirs", broker="redis://localhost/1")
    app.conf.update(task_acks_late=True, worker_prefetch_multiplier=4, task_time_limit=300)
    said = warnings(app, 7200.0)
    assert len(said) == 3
    assert "3600 s" in said[0]
    assert "7200 s" in said[0]
    assert "4 tickets" in said[1]
    assert "300 s" in said[2]
    app.conf.update(task_acks_late=False, worker_prefetch_multiplier=1, task_time_limit=None)
    assert warnings(app, 7200.0) == []
