"""A ledger of jobs under faults: what was acknowledged, what ran, and whether the two agree. All chance is seeded."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from headgate.base.clock import SystemClock
from headgate.base.errors import HeadgateError
from headgate.base.model import JobRecord, JobState
from headgate.drivers.local.store import Store
from tests.support.jobs_app import Crew, crew
from tests.support.small_disk import Bounded, Disk, small_disk
from tests.support.stepped_clock import SteppedClock
from tests.support.wait import until

ROOT = Path(__file__).resolve().parents[2]
IDEMPOTENT = 5
"""Every so-manieth job has an idempotency key and is put twice."""


class Ledger:
    """Producers, faults, and the reckoning.

    Args:
        crew: a broker and job workers.
        seed: of all chance.
        disk: that the data folder is on, if it can be filled.
    """

    def __init__(self, crew: Crew, seed: int, producers: int = 3, disk: Disk | None = None) -> None:
        self.crew = crew
        self._disk = disk or Bounded(Path(crew.settings.data), lambda: crew.broker.process.pid)
        self._others: list[subprocess.Popen[bytes]] = []
        self.random = random.Random(seed)
        self.acknowledged: dict[str, str] = {}
        """Line that the job writes → job id."""
        self.refused = 0
        self.done: Counter[str] = Counter()
        self.back: list[float] = []
        """Seconds from the kill of a worker to its job running again."""
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._producers = [
            threading.Thread(target=self._produce, args=(n, random.Random(f"{seed}/{n}"))) for n in range(producers)
        ]

    def run(self, seconds: float, kills: int = 0, only: Sequence[Any] = ()) -> None:
        """Produce and break things for so long; then these faults, then kill so many workers, one after the other."""
        for producer in self._producers:
            producer.start()
        self._start_producer()
        faults = self.faults()
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                self._break(self.random.choice(faults))
            for fault in only:
                self._more(4)
                self._break(partial(fault, self), fault.__name__)
                self._more(4)
            for _ in range(kills):
                self._break(self.kill_running)
        finally:
            self._stop.set()
            for producer in self._producers:
                producer.join(60)
            for other in self._others:
                other.kill()
                other.wait(10)

    def faults(self) -> list[Callable[[], None]]:
        """What is broken at random, each as often as it is listed."""
        faults = [self.kill_worker] * 5 + [self.kill_broker, self.kill_producer] * 2
        faults += [self.freeze_worker, self.fill_disk, self.cut_power, self.stop_worker]
        return faults + ([self.step_clock] if self.crew.clock is not None else [])

    def _break(self, fault: Callable[[], None], name: str = "") -> None:
        fault()
        self.done[name or fault.__name__] += 1

    def _more(self, jobs: int) -> None:
        before = len(self.acknowledged)
        until(lambda: len(self.acknowledged) >= before + jobs, "jobs are acknowledged", seconds=30)

    def reckon(self) -> None:
        """Nothing acknowledged is lost; streams are in order; no lease is left."""
        ran, quiet = -1, False
        while not quiet and len(self.crew.ledger()) > ran:  # what is left may be much; it must not stand still
            ran, end = len(self.crew.ledger()), time.monotonic() + 120
            while not (quiet := self._quiet()) and time.monotonic() < end:
                time.sleep(0.1)
        assert quiet, "work is left, and none was done for 120 s"
        for told in self.crew.folder.glob("acknowledged-*"):
            # Its last line may be torn: the producer was killed.
            whole = [line.split() for line in told.read_text().splitlines(keepends=True) if line.endswith("\n")]
            self.acknowledged |= dict(whole)
        counted = Counter(self.crew.ledger())
        lost = [line for line in self.acknowledged if line not in counted]
        assert lost == [], f"{len(lost)} of {len(self.acknowledged)} acknowledged jobs never ran: {lost[:5]}"
        for line, job_id in self.acknowledged.items():
            record = self.crew.bridge.get(job_id)
            assert record is not None, f"{line}: the record of {job_id} is gone"
            assert record.state is JobState.SUCCEEDED, f"{line}: {record.state} {record.failure}"
            self._check_stream(line, record)
        ids = Counter(self.acknowledged.values())
        assert [job for job, count in ids.items() if count > 1] == []

    def kill_worker(self) -> None:
        """kill -9 in the middle of whatever it does; a new one takes its place, as the supervisor would see to."""
        worker = self.random.choice(self.crew.workers)
        running = [record for record in self._running() if record.worker == worker.name]
        worker.kill()
        began = time.monotonic()
        self.crew.workers.remove(worker)
        self._await_back([record.id for record in running], began)
        self.crew.start_worker()

    def kill_running(self) -> None:
        """kill -9 of a worker in the middle of a job; the time until that job's first line runs again."""
        line = f"kill-{self.done['kill_running']}"
        handle = self.crew.app.held_up_once.options(priority=1).enqueue(line)
        self.acknowledged[line] = handle.id
        until(lambda: line in self.crew.ledger(), "the job runs", every=0.01)
        worker = self.crew.worker_running(handle.id)
        began = time.monotonic()
        worker.kill()
        until(lambda: self.crew.ledger().count(line) == 2, "the job runs again", seconds=30, every=0.005)
        self.back.append(time.monotonic() - began)
        self.crew.workers.remove(worker)
        self.crew.start_worker()

    def stop_worker(self) -> None:
        worker = self.random.choice(self.crew.workers)
        worker.stop(self.random.uniform(0.2, 2.0))
        self.crew.workers.remove(worker)
        self.crew.start_worker()

    def freeze_worker(self) -> None:
        """A worker that stops for longer than its lease and then goes on as if nothing had been."""
        pid = self.random.choice(self.crew.workers).process.pid
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self.crew.settings.job_lease + self.random.uniform(0.5, 1.5))
        os.kill(pid, signal.SIGCONT)

    def kill_broker(self) -> None:
        self.crew.broker.kill()
        time.sleep(self.random.uniform(0, 0.3))
        self.crew.restart_broker()

    def fill_disk(self) -> None:
        """Every write fails until there is room again."""
        self._disk.fill()
        time.sleep(self.random.uniform(0.3, 1.0))
        self._disk.free()

    def step_clock(self) -> None:
        """The wall clock of broker and job workers jumps, by up to an hour from the true time."""
        assert self.crew.clock is not None
        self.crew.clock.step(self.random.uniform(-3_600, 3_600) - self.crew.clock.offset)

    def kill_producer(self) -> None:
        """kill -9 of a process that enqueues, as an app worker does; another takes its place."""
        self._others[-1].kill()
        self._others[-1].wait(10)
        self._start_producer()

    def _start_producer(self) -> None:
        words = ["-m", "tests.support.producing", str(self.crew.folder), f"p{len(self._others)}"]
        seed = str(self.random.random())
        self._others.append(subprocess.Popen([sys.executable, *words, seed], cwd=ROOT))

    def cut_power(self) -> None:
        """What is on disk at some moment, opened elsewhere: all that was acknowledged before is in it."""
        with self._lock:
            known = dict(self.acknowledged)
        os.kill(self.crew.broker.process.pid, signal.SIGSTOP)
        copy = self.crew.folder / "power-cut"
        try:
            shutil.rmtree(copy, ignore_errors=True)
            copy.mkdir()
            for name in ("broker.db", "broker.db-wal"):
                shutil.copy(Path(self.crew.settings.data) / name, copy / name)
        finally:
            os.kill(self.crew.broker.process.pid, signal.SIGCONT)
        store = Store(copy / "broker.db", SystemClock())
        try:
            assert store.db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            there = {job for (job,) in store.db.execute("SELECT id FROM jobs")}
        finally:
            store.close()
        lost = [line for line, job in known.items() if job not in there]
        assert lost == [], f"after the power cut {len(lost)} acknowledged jobs were gone"

    def _produce(self, number: int, chance: random.Random) -> None:
        count = 0
        while not self._stop.is_set():
            line = f"{number}-{count}"
            count += 1
            function = self.crew.app.write
            twice = count % IDEMPOTENT == 0
            if twice:
                function = function.options(idempotency_key=line)
            for _ in range(1 + twice):
                try:
                    handle = function.enqueue(line, round(chance.expovariate(40), 3))
                except HeadgateError:
                    self.refused += 1
                    continue
                with self._lock:
                    earlier = self.acknowledged.setdefault(line, handle.id)
                assert earlier == handle.id, f"{line}: the idempotency key led to two jobs"
            time.sleep(chance.uniform(0, 0.2))

    def _running(self) -> list[JobRecord]:
        try:
            return list(self.crew.bridge.find(states=[JobState.RUNNING]))
        except HeadgateError:
            return []

    def _await_back(self, jobs: list[str], began: float) -> None:
        def again() -> bool:
            records = [self.crew.bridge.get(job) for job in jobs]
            return all(one is not None and (one.tries > 1 or one.state.terminal) for one in records)

        if jobs:
            until(again, "the killed worker's jobs are taken again", seconds=30, every=0.005)
            self.back.append(time.monotonic() - began)

    def _quiet(self) -> bool:
        counts = self.crew.bridge.stats().get("default", {})
        return not {"queued", "running", "scheduled"} & set(counts)

    def _check_stream(self, line: str, record: JobRecord) -> None:
        events = self.crew.bridge.read(record.stream).events
        assert [event.offset for event in events] == list(range(1, len(events) + 1)), f"{line}: a gap in its stream"
        kinds = [event.kind for event in events]
        assert kinds[0] == "queued", f"{line}: {kinds}"
        assert kinds[-1] == "result", f"{line}: {kinds}"
        assert [event.terminal for event in events] == [False] * (len(events) - 1) + [True], f"{line}: {kinds}"
        for before, after in itertools.pairwise(kinds):
            # A try begins once and only after it was queued, again if need be.
            assert (after == "started") <= (before in ("queued", "retrying")), f"{line}: {kinds}"


@contextmanager
def broken(folder: Path, seed: int, workers: int = 2, mib: int = 64) -> Iterator[Ledger]:
    """A ledger whose crew has a clock that can be stepped and a disk that can be filled."""
    hired: list[Crew] = []
    disk = small_disk(folder / "data", lambda: hired[0].broker.process.pid, mib=mib)
    with disk as small, crew(folder, workers, clock=SteppedClock(folder), job_lease=2.0) as made:
        hired.append(made)
        yield Ledger(made, seed, disk=small)
