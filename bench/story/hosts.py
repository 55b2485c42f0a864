"""The five deployments of the story, each started fresh for its turn."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.hosting import BOOT, booted
from bench.peers import EVENTLET, STARLETTE_RQ, STORY, Peer
from tests.support.process import Process
from tests.support.redis import Redis
from tests.support.wait import accepts, free_port

RQ_WORKERS = 2


@dataclass(frozen=True)
class Host:
    """One way to host the service; `start(folder, database URL)` gives its WebSocket URL."""

    label: str
    start: Callable[[Path, str], object]
    series: str
    """The simulator's name of what ends a heavy click: its answer, or the result of its job."""
    ordered: bool
    """Whether a heavy click's answer comes before that of the user's next click."""
    in_order: bool
    """Whether the app's own loop makes a user's next click wait for their update."""


def _peer(peer: Peer, database: str, port: int, **more: str) -> dict[str, str]:
    path = f"{peer.path}{os.pathsep}{os.environ['PATH']}"
    peer.prepare()
    return {"PATH": path, "DATABASE_URL": database, "PORT": str(port), **more}


@contextmanager
def eventlet(folder: Path, database: str) -> Iterator[str]:
    """The original: gunicorn 23 with one Eventlet worker."""
    port = free_port()
    process = Process(
        "eventlet", [str(STORY / "peer_eventlet" / "run.sh")], folder, env=_peer(EVENTLET, database, port)
    )
    process.wait_ready(lambda: accepts(port), BOOT)
    try:
        yield f"ws://127.0.0.1:{port}/ws"
    finally:
        process.stop()


@contextmanager
def starlette_rq(folder: Path, database: str) -> Iterator[str]:
    """The usual rewrite: Starlette on uvicorn, the update in RQ with two workers."""
    port = free_port()
    here = STORY / "peer_starlette_rq"
    with ExitStack() as stack:
        redis = stack.enter_context(Redis({"appendonly": "yes"}))
        env = _peer(STARLETTE_RQ, database, port, REDIS_URL=redis.url)
        web = Process("starlette", [str(here / "run.sh")], folder, env=env)
        stack.callback(web.stop)
        for number in range(RQ_WORKERS):
            command = [STARLETTE_RQ.program("rq"), "worker", "-u", redis.url, "bulk"]
            stack.callback(Process(f"rq{number}", command, folder, env=env, cwd=here).stop)
        web.wait_ready(lambda: accepts(port), BOOT)
        yield f"ws://127.0.0.1:{port}/ws"


@contextmanager
def _headgate(target: str, folder: Path, database: str) -> Iterator[str]:
    with booted(target, folder, app_folder=STORY, env={"DATABASE_URL": database}) as server:
        yield f"{server.ws_url}/ws"


def headgate_inline(folder: Path, database: str) -> object:
    """The original's app.py, unchanged."""
    return _headgate("app:app", folder, database)


def headgate_jobs(folder: Path, database: str) -> object:
    """app_jobs.py: the update as a job."""
    return _headgate("app_jobs:app", folder, database)


def headgate_bulk(folder: Path, database: str) -> object:
    """app_bulk.py: the job writes with `bulk.update`."""
    return _headgate("app_bulk:app", folder, database)


HOSTS = {
    "eventlet": Host("Eventlet original", eventlet, "update", True, True),
    "headgate": Host("Headgate, app unchanged", headgate_inline, "update", True, True),
    "starlette": Host("Starlette + uvicorn + RQ", starlette_rq, "update", False, False),
    "headgate_jobs": Host("Headgate with jobs", headgate_jobs, "update.result", True, False),
    "headgate_bulk": Host("Headgate with jobs and bulk.update", headgate_bulk, "update.result", True, False),
}
