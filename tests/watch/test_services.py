"""Services as they are started every day, under `headgate watch run`: what blocks them is named, what does not is not.

The blocking call waits in C, as drivers do, so that no monkey-patching makes it green.
"""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.peers import EVENTLET, Peer, named
from headgate.watch import journal, model
from headgate.watch.model import Incident
from tests.support.process import Process
from tests.support.wait import accepts, free_port, until

pytestmark = pytest.mark.timeout(300)  # a fresh checkout makes the peers' environments first
SCRIPTS = Path(sys.executable).parent
QUIET = 20

SHOP = """
import ctypes
import sys

from flask import Flask

app = Flask(__name__)
libc = ctypes.CDLL(None)


def look_up(number):
    libc.usleep(700_000)
    return number


@app.get("/quiet")
def quiet():
    return "quiet"


@app.get("/orders/<number>")
def order(number):
    return look_up(number)


@app.get("/hang")
def hang():
    libc.usleep(60_000_000)
    return "never"


if __name__ == "__main__":
    app.run(port=int(sys.argv[1]))
"""
TASKS = """
import ctypes

from celery import Celery

app = Celery("tasks", broker={broker!r})
app.conf.task_ignore_result = True
libc = ctypes.CDLL(None)


@app.task
def quiet():
    pass


@app.task
def reprice():
    libc.usleep(700_000)


if __name__ == "__main__":
    for _ in range({quiet}):
        quiet.delay()
    print(reprice.delay().id)
"""


@dataclass(frozen=True)
class Way:
    """One way to serve the shop.

    Args:
        kind: what stands still.
        command: with `{port}` in it.
        peer: whose environment it runs in; None: the tests' own.
    """

    kind: str
    command: tuple[str, ...]
    peer: Peer | None = None

    def at(self, port: int) -> list[str]:
        """Its command line."""
        program, *rest = (each.format(port=port) for each in self.command)
        return [self.peer.program(program) if self.peer else str(SCRIPTS / program), *rest]


def gunicorn(kind: str, peer: Peer, *flags: str) -> Way:
    return Way(kind, ("gunicorn", *flags, "-b", "127.0.0.1:{port}", "shop:app"), peer)


WAYS = {
    "gunicorn": gunicorn("thread", named("gunicorn"), "-w", "2"),
    "gunicorn --preload": gunicorn("thread", named("gunicorn"), "--preload"),
    "gunicorn --threads": gunicorn("thread", named("gunicorn"), "--threads", "4"),
    "gunicorn -k gevent": gunicorn("gevent", named("gevent"), "-k", "gevent"),
    "gunicorn -k eventlet": gunicorn("eventlet", EVENTLET, "-k", "eventlet"),
    "flask run": Way("thread", ("flask", "--app", "shop", "run", "--port", "{port}")),
    "python shop.py": Way("thread", ("python", "shop.py", "{port}")),
}


def watched(workdir: Path, command: list[str]) -> Process:
    """A command under watch, in this folder."""
    flags = ["--folder", "watched", "--handler-threshold", "300ms"]
    return Process("watched", [sys.executable, "-m", "headgate", "watch", "run", *flags, "--", *command], workdir)


@contextmanager
def serving(workdir: Path, way: Way) -> Iterator[str]:
    """The shop under watch; yields its URL."""
    (workdir / "shop.py").write_text(SHOP)
    port = free_port()
    service = watched(workdir, way.at(port))
    try:
        service.wait_ready(lambda: accepts(port), 60)
        yield f"http://127.0.0.1:{port}"
    finally:
        service.stop()


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


def told(workdir: Path, function: str) -> Incident:
    """The one incident that there is, which is of this function."""
    found = until(lambda: [each for each in counted(workdir) if each.function == function], "the incident", 30)
    assert counted(workdir) == found, "what is quiet is not told of"
    (incident,) = found
    return incident


def counted(workdir: Path) -> list[Incident]:
    """What was told of, but for what the machine did."""
    incidents = journal.read(workdir / "watched")
    return [each for each in incidents if not each.startup and each.cause != model.STARVED]


def line_of(source: str, text: str) -> int:
    return next(number for number, line in enumerate(source.splitlines(), 1) if text in line)


@pytest.mark.parametrize("name", list(WAYS))
def test_a_handler_that_blocks_is_named_and_a_quiet_one_is_not(workdir: Path, name: str) -> None:
    way = WAYS[name]
    with serving(workdir, way) as url:
        assert {get(f"{url}/quiet") for _ in range(QUIET)} == {"quiet"}
        assert get(f"{url}/orders/7") == "7"
        incident = told(workdir, "look_up")
    assert incident.kind == way.kind
    assert incident.cause == model.BLOCKING
    assert (Path(incident.file).name, incident.number) == ("shop.py", line_of(SHOP, "libc.usleep(700_000)"))
    assert incident.code == "libc.usleep(700_000)"
    assert incident.handler == "GET /orders/<number>"


def test_a_handler_that_costs_its_gunicorn_worker_is_named_all_the_same(workdir: Path) -> None:
    with serving(workdir, gunicorn("thread", named("gunicorn"), "--timeout", "2")) as url:
        with pytest.raises(OSError):  # a reset or an error 500, as the worker happens to die
            get(f"{url}/hang")
        incident = told(workdir, "hang")
    assert incident.number == line_of(SHOP, "libc.usleep(60_000_000)")
    assert incident.handler == "GET /hang"


@pytest.mark.parametrize(("pool", "kind"), [("prefork", "thread"), ("threads", "thread"), ("gevent", "gevent")])
def test_a_celery_task_that_blocks_is_named(workdir: Path, redis_url: str, pool: str, kind: str) -> None:
    source = TASKS.format(broker=redis_url, quiet=QUIET)
    (workdir / "tasks.py").write_text(source)
    flags = ["-P", pool, "-c", "1", "-l", "info", "--without-gossip", "--without-mingle"]
    worker = watched(workdir, [str(SCRIPTS / "celery"), "-A", "tasks", "worker", *flags])
    try:
        worker.wait_ready(lambda: " ready." in worker.log(), 60)
        sent = [sys.executable, "tasks.py"]
        task = subprocess.run(sent, cwd=workdir, env=os.environ, capture_output=True, text=True, timeout=60, check=True)
        incident = told(workdir, "reprice")
    finally:
        worker.stop()
    assert incident.kind == kind
    assert (Path(incident.file).name, incident.number) == ("tasks.py", line_of(source, "libc.usleep(700_000)"))
    assert incident.handler == "task tasks.reprice"
    assert incident.request_id == task.stdout.strip()
