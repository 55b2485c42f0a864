"""The app of the job workers under test, written into the test's folder; and its starting and stopping."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from headgate.base.errors import HeadgateError
from headgate.config.settings import Settings
from headgate.declare import binding, registry
from headgate.drivers.bridge import Bridge
from headgate.roles.choose import open_bridge
from tests.support.roles import RoleProcess
from tests.support.stepped_clock import SteppedClock

SOURCE = """
import asyncio, ctypes, logging, os, signal, time
from pathlib import Path
from flask import Flask
from headgate.base.model import Backoff
from headgate.declare.extension import Headgate

app = Flask(__name__)
gate = Headgate(app)
HERE = Path(__file__).parent

def note(line):
    with open(HERE / "ledger", "a") as ledger:
        ledger.write(line + "\\n")

@gate.job()
def echo(value=None):
    return value

@gate.job()
def write(line, seconds=0):
    note(line)
    time.sleep(seconds)
    return os.getpid()

@gate.job()
def held_up_once(job, line):
    note(line)
    if job.tries == 1:
        time.sleep(60)
    return job.tries

@gate.job(batch=50, linger=0.2)
def adds_up(numbers: list[int]):
    note(f"list of {len(numbers)}")
    return [ValueError("thirteen") if n == 13 else n + 1 for n in numbers]

@gate.job(batch=50, linger=0.2)
def dies_of_seven(job, numbers: list[int]):
    if 7 in numbers:
        os._exit(9)
    job.log("whole")
    job.members[0].progress(len(numbers))

@gate.job(serializer="pickle")
def takes_anything(value):
    return type(value).__name__

@gate.job()
def steps(job, count):
    for done in range(1, count + 1):
        job.progress(done, count)
        logging.getLogger("shop").warning("step %d", done)
    return count

@gate.job(retries=2, backoff=Backoff(first=0.05, jitter=0.0))
def fails_until(job, good):
    if job.tries < good:
        raise ValueError(f"try {job.tries}")
    return job.tries

@gate.job()
def fails():
    raise KeyError("the row is missing")

@gate.job()
def large(size):
    return "x" * size

@gate.job()
def strange():
    return object()

@gate.job(timeout=0.3)
def sleeps(seconds):
    time.sleep(seconds)

@gate.job(timeout=0.3)
async def sleeps_async(seconds):
    try:
        await asyncio.sleep(seconds)
    finally:
        note("cleaned up")

@gate.job(timeout=0.3)
def holds_on():
    while True:
        try:
            time.sleep(60)
        except Exception:
            pass

@gate.job()
async def adds(a, b):
    await asyncio.sleep(0)
    return a + b

@gate.job()
def dies():
    note("dies")
    os._exit(9)

@gate.job()
def dies_at_fifty(n):
    if n == 50:
        os._exit(9)
    return n

@gate.job()
def segfaults_once(job):
    note("segfaults")
    if job.tries == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    return job.tries

@gate.job()
def counts_on(job, to):
    start = job.checkpoint.get(0)
    note(f"from {start}")
    for n in range(start + 1, to + 1):
        job.checkpoint.set(n)
        time.sleep(0.02)
    return start

@gate.job()
def asks_again(job):
    if job.tries < 3:
        job.retry(in_=0.05)
    return job.tries

@gate.job()
def total(job):
    return sum(job.before)

@gate.cron("* * * * *", missed="all")
def ticks():
    note("tick")

@gate.around_jobs
def outer(job, call):
    if job.record.spec.tags != ("layered",):
        return call()
    note("outer in")
    try:
        return call()
    finally:
        note("outer out")

@gate.around_jobs
def inner(job, call):
    if job.record.spec.tags == ("layered",):
        note("inner")
    return call()

@gate.job()
def enqueues():
    return echo.enqueue("inner").id
"""


class Crew:
    """A broker, its job workers, and this test as a producer.

    Args:
        folder: the test's own.
        clock: the wall clock of the processes; None for the true one.
        changes: settings that differ from the defaults.
    """

    def __init__(self, folder: Path, clock: SteppedClock | None = None, **changes: Any) -> None:
        self.folder = folder
        self.clock = clock
        self._wrap = () if clock is None else clock.wrap
        (folder / "jobsapp.py").write_text(SOURCE)
        data = str(folder / "data")
        self.settings = self._settings(data=data, **changes)
        self.broker = RoleProcess("broker", self.settings, folder, wrap=self._wrap)
        self.workers: list[RoleProcess] = []
        self.bridge: Bridge = open_bridge("embedded", data)
        self.app: Any = None

    def start(self, workers: int) -> None:
        """Wait for the broker, connect, start job workers."""
        self.broker.wait_ready()
        self.bridge.open()
        self.app = self._import()
        for _ in range(workers):
            self.start_worker()

    def start_worker(self) -> RoleProcess:
        """One more job worker."""
        worker = RoleProcess("jobs", self.settings, self.folder, index=len(self.workers), wrap=self._wrap)
        self.workers.append(worker)
        return worker.wait_ready()

    def restart_broker(self) -> None:
        """Start it again after its death, as the same supervisor would."""
        dead = self.broker.name
        self.broker = RoleProcess("broker", self.settings, self.folder, replaces=dead, wrap=self._wrap).wait_ready()

    def worker_running(self, job_id: str) -> RoleProcess:
        """The process that runs the job."""
        record = self.bridge.get(job_id)
        assert record is not None
        return next(worker for worker in self.workers if worker.name == record.worker)

    def ledger(self) -> list[str]:
        """What the jobs have noted."""
        path = self.folder / "ledger"
        return path.read_text().splitlines() if path.exists() else []

    def close(self) -> None:
        binding.unbind()
        with contextlib.suppress(HeadgateError, TimeoutError):
            self.bridge.close()
        for process in (*self.workers, *self._servers()):
            process.close()
        registry.clear()
        sys.modules.pop("jobsapp", None)
        with contextlib.suppress(ValueError):
            sys.path.remove(str(self.folder))

    def _servers(self) -> list[RoleProcess]:
        return [self.broker]

    def _settings(self, **changes: Any) -> Settings:
        return Settings(app="jobsapp:app", secret="0" * 64, job_nice=0, **changes)

    def _import(self) -> ModuleType:
        sys.modules.pop("jobsapp", None)
        registry.clear()
        sys.path.insert(0, str(self.folder))
        importlib.invalidate_caches()
        binding.bind(self.bridge, secret="0" * 64)
        return importlib.import_module("jobsapp")


@contextlib.contextmanager
def crew(folder: Path, workers: int = 1, clock: SteppedClock | None = None, **changes: Any) -> Iterator[Crew]:
    """A crew that is stopped whatever happens."""
    hired = Crew(folder, clock, **changes)
    try:
        hired.start(workers)
        yield hired
    finally:
        hired.close()
