"""The app whose jobs run in workers of RQ and Celery, and those workers."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headgate.config.settings import Settings
from headgate.declare import binding, registry
from headgate.drivers.bridge import Bridge
from headgate.roles.choose import open_bridge
from tests.support.process import Process

SOURCE = """
import os, time
from pathlib import Path
from flask import Flask
from headgate import Headgate, current_job
from headgate.base.model import Backoff

app = Flask(__name__)
gate = Headgate(app)
HERE = Path(__file__).parent
CARRIER = "%s"

def note(line):
    with open(HERE / "ledger", "a") as ledger:
        ledger.write(line + "\\n")

@gate.job(engine=CARRIER)
def steps(job, count):
    assert current_job().id == job.id
    job.log("begun")
    for done in range(1, count + 1):
        job.progress(done, count)
    return {"pid": os.getpid()}

@gate.job(engine=CARRIER, retries=2, backoff=Backoff(first=0.05, jitter=0.0))
def fails_until(job, good):
    if job.tries < good:
        raise ValueError(f"try {job.tries}")
    return job.tries

@gate.job(engine=CARRIER)
def fails():
    raise KeyError("the row is missing")

@gate.job(engine=CARRIER)
def held_up_once(job, line):
    note(f"{line} {os.getpid()}")
    if job.tries == 1:
        time.sleep(60)
    return job.tries

@gate.job(engine=CARRIER)
def waits(line, seconds):
    note(line)
    time.sleep(seconds)

@gate.job()
def ours():
    return os.getpid()
"""


class Carried:
    """An app with carried jobs, this test as its producer, and the workers that carry them.

    Args:
        folder: the test's own.
        carrier: "rq" or "celery".
        url: of the Redis that is the engine.
        settings: further ones.
    """

    def __init__(self, folder: Path, carrier: str, url: str, **settings: Any) -> None:
        self.folder = folder
        (folder / "carriedapp.py").write_text(SOURCE % carrier)
        self.url = url
        self.settings = Settings(broker=url, data=str(folder / "data"), secret="0" * 64, **settings)
        self.bridge: Bridge = open_bridge(url, self.settings.data, self.settings)
        self.workers: list[Process] = []
        self.app: Any = None

    def start_worker(self, *command: str, env: dict[str, str] | None = None) -> Process:
        """A worker as its owner starts it."""
        lease = f"{self.settings.job_lease:g}"
        ours = {"HEADGATE_SECRET": "0" * 64, "HEADGATE_JOB_LEASE": lease, "PYTHONUNBUFFERED": "1"}
        given = {**ours, **(env or {})}
        name = f"worker{len(self.workers)}"
        worker = Process(name, [sys.executable, "-m", *command], self.folder, env=given, cwd=self.folder)
        self.workers.append(worker)
        return worker

    def ledger(self) -> list[str]:
        path = self.folder / "ledger"
        return path.read_text().splitlines() if path.exists() else []

    def kill_tree(self, worker: Process) -> None:
        """kill -9 of a worker and all that it has started."""
        children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
        for pid in (worker.pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        worker.kill()
        self.workers.remove(worker)

    def open(self) -> None:
        sys.path.insert(0, str(self.folder))
        registry.clear()
        importlib.invalidate_caches()
        self.bridge.open()
        binding.bind(self.bridge, secret="0" * 64)
        self.app = importlib.import_module("carriedapp")

    def close(self) -> None:
        for worker in self.workers:
            worker.stop()
        binding.unbind()
        self.bridge.close()
        registry.clear()
        sys.path.remove(str(self.folder))
        for name in ("carriedapp", "celeryapp"):
            sys.modules.pop(name, None)


@contextlib.contextmanager
def carried(folder: Path, carrier: str, url: str, **settings: Any) -> Iterator[Carried]:
    """An app whose workers are stopped whatever happens."""
    made = Carried(folder, carrier, url, **settings)
    made.open()
    try:
        yield made
    finally:
        made.close()
