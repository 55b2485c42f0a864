"""Workers of RQ and Celery that Headgate starts: supervised as its own, and they end with it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.fixtures import StartHeadgate
from tests.support.headgate import Headgate
from tests.support.marked import bearers
from tests.support.wait import until

APP = """
import os, time
from flask import Flask, request
from headgate import Headgate, JobHandle

app = Flask(__name__)
gate = Headgate(app)

@gate.job(engine="CARRIER")
def work(job, seconds):
    with open("ledger", "a") as ledger:
        ledger.write(f"{os.getpid()} {job.tries}\\n")
    time.sleep(seconds if job.tries == 1 else 0)
    return {"pid": os.getpid(), "tries": job.tries}

@app.post("/work")
def start():
    return {"job": work.enqueue(float(request.args["seconds"])).id}

@app.get("/result/<job>")
def result(job):
    return JobHandle(job).wait(60)
"""
CELERYAPP = """
from celery import Celery
from headgate.celery import install

celery = Celery("shop", broker="{url}")
install(celery, timeout=600)
"""
CARRIERS = {"rq": {"HEADGATE_RQ_WORKERS": "2"}, "celery": {"HEADGATE_CELERY_WORKERS": "2"}}

SERVE = {"rq": 2, "celery": 1}
"""Processes that serve then: each RQ worker has one of its own, Celery's pool is its own affair."""


@pytest.fixture(params=sorted(CARRIERS))
def carrier(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(carrier: str, redis_url: str, workdir: Path, headgate_server: StartHeadgate) -> Headgate:
    (workdir / "app.py").write_text(APP.replace("CARRIER", carrier))
    env = {"HEADGATE_BROKER": redis_url, "HEADGATE_JOB_LEASE": "5", **CARRIERS[carrier]}
    if carrier == "celery":
        (workdir / "celeryapp.py").write_text(CELERYAPP.format(url=redis_url))
        env["HEADGATE_CELERY_APP"] = "celeryapp:celery"
    server = headgate_server("app:app", "--jobs", "0", app_folder=workdir, env=env, ready=False)
    until(server.ready, "the server is ready", 90)
    until(lambda: len(workers(server, carrier)) == SERVE[carrier], "they serve", 60)
    return server


def enqueue(server: Headgate, seconds: float) -> str:
    return str(httpx.post(f"{server.url}/work", params={"seconds": seconds}).raise_for_status().json()["job"])


def result(server: Headgate, job: str) -> dict[str, Any]:
    return dict(httpx.get(f"{server.url}/result/{job}", timeout=90).raise_for_status().json())


def ledger(server: Headgate) -> list[list[int]]:
    path = server.app_folder / "ledger"
    return [[int(word) for word in line.split()] for line in path.read_text().splitlines()] if path.exists() else []


def workers(server: Headgate, carrier: str) -> list[dict[str, Any]]:
    return [one for one in server.status()["processes"] if one["role"] == carrier and one["state"] == "serving"]


def test_its_jobs_are_run_and_a_killed_worker_is_replaced(server: Headgate, carrier: str) -> None:
    first = workers(server, carrier)
    assert result(server, enqueue(server, 0))["tries"] == 1
    job = enqueue(server, 30)
    until(lambda: len(ledger(server)) == 2, "it runs")
    (runs, _) = ledger(server)[-1]
    until(lambda: all(one["stats"].get(f"{carrier}_pid") for one in workers(server, carrier)), "the pids are told")
    for one in workers(server, carrier):
        os.kill(one["stats"][f"{carrier}_pid"], signal.SIGKILL)
    os.kill(runs, signal.SIGKILL)
    before = {one["pid"] for one in first}
    until(lambda: len(workers(server, carrier)) == len(first) and not before & pids(server, carrier), "new ones", 60)
    until(lambda: len(ledger(server)) == 3, "its lease has ended, and it runs again", 60)
    assert ledger(server)[-1][1] == 2
    assert httpx.get(f"{server.url}/result/{job}", timeout=90).json()["tries"] == 2


@pytest.mark.parametrize("carrier", ["rq"], indirect=True)
def test_a_reload_and_a_stop_let_it_finish(server: Headgate, carrier: str) -> None:
    before = pids(server, carrier)
    job = enqueue(server, 3)
    until(lambda: len(ledger(server)) == 1, "it runs")
    server.command("reload", seconds=90)
    assert not before & pids(server, carrier)
    assert result(server, job)["tries"] == 1
    enqueue(server, 1)
    until(lambda: len(ledger(server)) == 2, "the second one runs")
    server.stop()
    assert len(ledger(server)) == 2


@pytest.mark.parametrize("carrier", ["rq"], indirect=True)
def test_none_outlives_a_killed_supervisor(server: Headgate, carrier: str) -> None:
    assert workers(server, carrier)
    os.kill(server.pid, signal.SIGKILL)
    until(lambda: not bearers(server.mark), "all are gone", 60)
    for path in server.data.rglob("*"):
        if path.is_socket():  # nobody was there to take it away
            path.unlink()


def pids(server: Headgate, carrier: str) -> set[int]:
    return {one["pid"] for one in workers(server, carrier)}


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({"HEADGATE_RQ_WORKERS": "1"}, "rq_workers run jobs of an engine that is a Redis"),
        ({"HEADGATE_CELERY_WORKERS": "1", "HEADGATE_BROKER": "redis://127.0.0.1:1/0"}, "needs celery_app"),
    ],
)
def test_what_they_lack_is_told_before_the_start(
    env: dict[str, str], told: str, headgate_server: StartHeadgate
) -> None:
    server = headgate_server(APP.replace("CARRIER", "rq"), env=env, ready=False)
    until(lambda: not server.process.alive(), "the end")
    assert server.process.popen.returncode == 2
    assert told in " ".join(server.process.log().split())
