"""`headgate run` with its real roles and a Flask app: the commands, the reload, and the death of each kind."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.headgate import Headgate
from tests.support.wait import until

PATIENCE = 45.0
APP = """
import os, time
from flask import Flask
from headgate import Headgate

app = Flask(__name__)
gate = Headgate(app)
VERSION = 1

@gate.job(queue="bulk")
def nap(job, seconds):
    open("napping", "a").write("began\\n")
    while not os.path.exists("enough"):
        time.sleep(0.02)
    return {"slept": seconds}

@gate.job
def broken(job):
    raise ValueError("no such table")

@app.get("/")
def version():
    return {"version": VERSION}

@app.post("/nap")
def nap_route():
    return nap.enqueue(1).accepted()

@app.post("/broken")
def broken_route():
    return broken.enqueue().accepted()
"""


@pytest.fixture
def headgate(workdir: Path) -> Iterator[Headgate]:
    (workdir / "shop.py").write_text(APP)
    with Headgate("shop:app", workdir, "--jobs", "1", "--stop-timeout", "5s") as server:
        yield server


def call(headgate: Headgate, path: str, method: str = "GET") -> dict[str, Any]:
    request = urllib.request.Request(headgate.url + path, method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def job(headgate: Headgate, job_id: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(headgate.command("jobs", "show", job_id, "--json"))
    return shown


def test_status_reload_jobs_and_stop(headgate: Headgate) -> None:
    assert call(headgate, "/") == {"version": 1}
    failed = call(headgate, "/broken", "POST")["id"]
    until(lambda: job(headgate, failed)["state"] == "failed", "the job to fail", PATIENCE, every=0.2)
    assert "ValueError: no such table" in headgate.command("jobs", "ls", "--failed")
    assert headgate.command("jobs", "retry", failed) == f"{failed} queued\n"

    status = until(lambda: _complete(headgate.status()), "reports of all", PATIENCE, every=0.3)
    assert {each["place"] for each in status["processes"]} == {
        *("broker-0", "gateway-0", "app-fast-0", "app-slow-0", "jobs-0")
    }
    assert "GET /" in headgate.command("status")

    app = headgate.app_folder / "shop.py"
    app.write_text(APP.replace("VERSION = 1", "VERSION = 2"))
    assert "Generation 2 serves" in headgate.command("reload", seconds=PATIENCE)
    until(lambda: call(headgate, "/") == {"version": 2}, "the new code alone", PATIENCE)

    app.write_text("import no_such_module\n")
    with pytest.raises(AssertionError, match=r"headgate reload: 1\n(.|\n)*No module named 'no_such_module'"):
        headgate.command("reload", seconds=PATIENCE)
    assert call(headgate, "/") == {"version": 2}

    assert headgate.command("stop") == "Stopped.\n"
    assert headgate.process.popen.wait(PATIENCE) == 0


def _complete(status: dict[str, Any]) -> dict[str, Any]:
    """The status, once the gateway has reported handlers; nothing before."""
    gateway = next(each for each in status["processes"] if each["role"] == "gateway")
    return status if gateway["stats"].get("handlers") else {}


@pytest.mark.parametrize("role", ["broker", "app", "jobs", "gateway"])
def test_the_death_of_any_process_is_made_good(headgate: Headgate, role: str) -> None:
    napping = call(headgate, "/nap", "POST")["id"]
    diary = headgate.app_folder / "napping"
    until(diary.exists, "the job to begin", PATIENCE)
    headgate.kill(role)
    until(headgate.ready, "ready again", PATIENCE)
    if role == "jobs":
        until(lambda: diary.read_text().count("began") == 2, "the job to begin again", PATIENCE)
    assert call(headgate, "/") == {"version": 1}
    (headgate.app_folder / "enough").touch()
    until(lambda: job(headgate, napping)["state"] == "succeeded", "the job to be done", PATIENCE, every=0.2)


def test_nothing_is_left_of_a_killed_supervisor(workdir: Path) -> None:
    (workdir / "shop.py").write_text(APP)
    server = Headgate("shop:app", workdir)
    call(server, "/nap", "POST")
    os.kill(server.pid, signal.SIGKILL)
    server.process.popen.wait(PATIENCE)
    until(lambda: not server.children(), "no orphan", 5)


@pytest.mark.parametrize(
    ("code", "target", "status", "told"),
    [
        ("", "shop:app", 2, "app"),
        ("import no_such_module\n", "shop:app", 1, "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import sys\nsys.exit(4)\n", "shop:app", 2, "sys.exit(4)"),
        ("import os\nos._exit(4)\n", "shop:app", 1, "exited with code 4 while it was starting"),
        ("x = (\n", "shop:app", 1, "SyntaxError: '(' was never closed"),
        ("app = 5\n", "shop:app", 2, "shop:app"),
        ("", "shap:app", 2, "shap"),
    ],
)
def test_an_app_that_does_not_start_ends_it_all_and_is_told_why(
    workdir: Path, code: str, target: str, status: int, told: str
) -> None:
    (workdir / "shop.py").write_text(code)
    server = Headgate(target, workdir, ready=False)
    assert server.process.popen.wait(PATIENCE) == status
    *_, last = server.log().strip().splitlines()
    assert last.startswith("headgate: ")
    assert told in last
    until(lambda: not server.leftovers(), "nothing left", PATIENCE)
