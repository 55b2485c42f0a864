"""The story's service with its updates in workers of RQ or Celery that a team already has."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.process.test_story import STORY, changed, database
from tests.support.fixtures import StartHeadgate
from tests.support.headgate import Headgate
from tests.support.process import Process
from tests.support.sockets import open_socket
from tests.support.wait import until

__all__ = ["database"]

SECRET = "the same for everybody, 32 bytes"
CELERY = """
import os
from celery import Celery
from headgate.celery import install

app = Celery("theirs", broker=os.environ["CELERY_BROKER"])
app.conf.worker_prefetch_multiplier = 1
install(app, timeout=600)
"""
COMMANDS = {
    "rq": ["rq.cli", "worker", "-q", "--url", "REDIS", "bulk"],
    "celery": ["celery", "-A", "theirs", "worker", "-c", "1", "-l", "warning", "-Q", "bulk"],
}


@pytest.fixture(params=["rq", "celery"])
def carrier(request: pytest.FixtureRequest, workdir: Path) -> str:
    """The story's app in a folder of its own, with its job for a carrier."""
    source = (STORY / "app_jobs.py").read_text()
    changed_source, count = re.subn(r"@gate\.job\(", f'@gate.job(engine="{request.param}", ', source)
    assert count == 1
    (workdir / "app_jobs.py").write_text(changed_source)
    (workdir / "theirs.py").write_text(CELERY)
    return str(request.param)


@pytest.fixture
def environment(carrier: str, database: str, redis_url: str) -> dict[str, str]:
    shared = {"DATABASE_URL": database, "HEADGATE_BROKER": redis_url, "HEADGATE_SECRET": SECRET}
    if carrier == "celery":
        shared |= {"HEADGATE_CELERY_APP": "theirs:app", "CELERY_BROKER": redis_url.replace("/0", "/1")}
    return shared


def test_the_update_runs_in_their_worker(
    carrier: str,
    environment: dict[str, str],
    database: str,
    redis_url: str,
    workdir: Path,
    headgate_server: StartHeadgate,
) -> None:
    roles = ("--roles", "gateway,app")
    server = headgate_server("app_jobs:app", *roles, app_folder=workdir, env=environment, ready=False)
    until(server.ready, "headgate serves", seconds=90)
    command = [sys.executable, "-m", *(redis_url if word == "REDIS" else word for word in COMMANDS[carrier])]
    worker = Process("worker", command, workdir, env=environment, cwd=workdir)
    try:
        events, accepted = update(server, database)
    finally:
        worker.stop()
    assert events[-1]["stream"] == f"jobs/{accepted['job_id']}"
    assert "progress" in {event.get("event") for event in events}
    assert changed(database) == 4000


def update(server: Headgate, database: str) -> tuple[list[Any], Any]:
    """One update, held up until a click has been answered; its events."""
    with psycopg.connect(database) as blocker, open_socket(f"{server.ws_url}/ws") as sock:
        blocker.execute("LOCK TABLE prices IN ACCESS EXCLUSIVE MODE")
        sock.send({"type": "update", "id": 1})
        accepted = sock.receive_until(lambda message: "job_id" in message)[-1]  # a quick worker's event may come first
        sock.send({"type": "click", "id": 2})
        sock.receive_until(lambda message: message == {"type": "answer", "id": 2})
        blocker.rollback()
        return sock.receive_until(lambda message: message.get("event") == "result", 60), accepted
