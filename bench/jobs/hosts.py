"""The job engines: how each one's workers are started, at its defaults and as its documentation advises."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.peers import Peer, named

APPS = Path(__file__).parent / "apps"


@dataclass(frozen=True)
class Engine:
    """One engine with one set of settings; `workers` is a command line in which REDIS stands for the server's URL."""

    label: str
    module: str
    peer: Peer | None = None
    workers: str = ""
    copies: int = 1
    settings: str = "defaults"
    env: Mapping[str, str] = field(default_factory=dict)
    load: int = 3000
    """Jobs for the throughput: some seconds of work."""
    redis: bool = True
    """Whether it needs a Redis."""
    speed: bool = True
    crash: bool = True

    @property
    def python(self) -> str:
        return self.peer.program("python") if self.peer is not None else sys.executable

    def environment(self, folder: Path, more: Mapping[str, str]) -> dict[str, str]:
        """What its producers and workers share; the lines of its jobs go to files in the folder."""
        path = f"{self.peer.path}{os.pathsep}{os.environ['PATH']}" if self.peer is not None else os.environ["PATH"]
        lines = {"JOBS_LINES": str(folder / "lines"), "JOBS_CRASHES": str(folder / "crashes")}
        return {"PATH": path, "PYTHONPATH": str(APPS), **lines, **self.env, **more}

    def produce(self, env: Mapping[str, str], *order: object) -> subprocess.Popen[str]:
        """A producer process with an order."""
        producer = APPS.parent / "producer.py"
        command = [self.python, str(producer), self.module, *map(str, order)]
        return subprocess.Popen(
            command, cwd=APPS, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


RQ, CELERY, DRAMATIQ, TASKIQ, HUEY, SAQ = (
    named(name) for name in ("rq", "celery", "dramatiq", "taskiq", "huey", "saq")
)
WORKER = "rq worker -q --url REDIS default"
SIMPLE = "rq worker -q -w rq.worker.SimpleWorker --url REDIS default"
PREFORK = "celery -A celery_app worker -c 2 -l warning"
ACTORS = "dramatiq -p 2 dramatiq_app"
TASKS = "taskiq worker -w 2 --log-level WARNING taskiq_app:broker"
CONSUMER = "huey_consumer huey_app.huey -w 2 -k process -q"
SETTINGS = "saq --workers 2 --quiet saq_app.settings"

ENGINES = {
    "headgate": Engine("Headgate", "headgate_app", settings="defaults (embedded engine)", load=3000, redis=False),
    "headgate_redis": Engine("Headgate on Redis", "headgate_app", settings="`--broker redis://…`", load=3000),
    "rq": Engine("RQ", "rq_app", RQ, WORKER, 2, load=120),
    "rq_simple": Engine(
        "RQ, SimpleWorker", "rq_app", RQ, SIMPLE, 2, "SimpleWorker (no fork per job)", load=1000, crash=False
    ),
    "rq_retry": Engine("RQ, Retry", "rq_app", RQ, WORKER, 2, "Retry(max=3)", {"RETRY": "1"}, speed=False),
    "celery": Engine("Celery", "celery_app", CELERY, PREFORK, load=1000),
    "celery_fast": Engine(
        "Celery, prefetch",
        "celery_app",
        CELERY,
        f"{PREFORK} --without-gossip --without-mingle",
        1,
        "worker_prefetch_multiplier=128, --without-gossip --without-mingle",
        {"FAST": "1"},
        load=1000,
        crash=False,
    ),
    "celery_late": Engine(
        "Celery, acks_late",
        "celery_app",
        CELERY,
        PREFORK,
        1,
        "acks_late, reject_on_worker_lost, prefetch 1",
        {"LATE": "1"},
        speed=False,
    ),
    "dramatiq": Engine("dramatiq", "dramatiq_app", DRAMATIQ, ACTORS, load=4000),
    "dramatiq_quick": Engine(
        "dramatiq, heartbeat 15 s",
        "dramatiq_app",
        DRAMATIQ,
        ACTORS,
        1,
        "heartbeat_timeout 15 s, maintenance_chance 10 %",
        {"QUICK": "1"},
        speed=False,
    ),
    "taskiq": Engine("taskiq, list", "taskiq_app", TASKIQ, TASKS, 1, "defaults, ListQueueBroker", load=4000),
    "taskiq_stream": Engine(
        "taskiq, stream",
        "taskiq_app",
        TASKIQ,
        TASKS,
        1,
        "RedisStreamBroker, idle_timeout 15 s; results looked for every 10 ms",
        {"STREAM": "1", "CHECK": "0.01"},
        load=3000,
    ),
    "huey": Engine("huey", "huey_app", HUEY, CONSUMER, load=4000),
    "huey_notify": Engine(
        "huey, notify", "huey_app", HUEY, CONSUMER, 1, "notify_result, retries=3", {"NOTIFY": "1"}, load=4000
    ),
    "saq": Engine("SAQ", "saq_app", SAQ, SETTINGS, load=2500),
    "saq_sweep": Engine(
        "SAQ, sweep 1 s", "saq_app", SAQ, SETTINGS, 1, "retries=3, sweep every second", {"SWEEP": "1"}, speed=False
    ),
}
