"""Job workers of several machines on one Redis, this test as their producer and supervisor, and their ledger."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from headgate.base.model import JobState
from headgate.roles.choose import open_bridge
from headgate.roles.machine import worker_name
from tests.support.jobs_app import SOURCE, Crew
from tests.support.jobs_ledger import Ledger
from tests.support.proxy import Proxy
from tests.support.redis import Redis
from tests.support.roles import RoleProcess


class RedisCrew(Crew):
    """Job workers on a Redis.

    Args:
        folder: the test's own.
        server: the Redis, which the test may kill and restart.
        url: of it, if that is not simply its own.
        changes: settings that differ from the defaults.
    """

    def __init__(self, folder: Path, server: Redis, url: str | None = None, **changes: Any) -> None:
        self.folder = folder
        self.server = server
        self.clock = None
        self._wrap = ()
        (folder / "jobsapp.py").write_text(SOURCE)
        given: dict[str, Any] = {"data": str(folder / "data"), "broker": url or server.url, **changes}
        self.settings = self._settings(**given)
        self.workers: list[RoleProcess] = []
        self.bridge = open_bridge(self.settings.broker, self.settings.data, self.settings)
        self.app: Any = None

    def start(self, workers: int) -> None:
        """Connect, start job workers."""
        self.bridge.open()
        self.app = self._import()
        for _ in range(workers):
            self.start_worker()

    def move(self, url: str) -> None:
        """From now on workers of this machine go another way to the server."""
        lease = self.settings.job_lease
        self.settings = self._settings(data=self.settings.data, broker=url, job_lease=lease)

    def start_elsewhere(self, url: str) -> RoleProcess:
        """A job worker of another machine: its own data folder, its own way to the server."""
        data = str(self.folder / f"machine-{len(self.workers)}")
        settings = self._settings(data=data, broker=url, job_lease=self.settings.job_lease)
        worker = RoleProcess("jobs", settings, self.folder, index=len(self.workers))
        self.workers.append(worker)
        return worker.wait_ready()

    def _servers(self) -> list[RoleProcess]:
        return []

    def name_of(self, worker: RoleProcess) -> str:
        """What the engine calls it."""
        return worker_name(self.settings, worker.name)

    def worker_running(self, job_id: str) -> RoleProcess:
        record = self.bridge.get(job_id)
        assert record is not None
        return next(worker for worker in self.workers if self.name_of(worker) == record.worker)

    def bury(self, worker: RoleProcess) -> None:
        """Say of a dead worker what the supervisor says."""
        self.workers.remove(worker)
        for other in self.workers:
            with contextlib.suppress(OSError):
                other.tell("worker_died", {"name": worker.name, "role": "jobs", "lane": None})


class RedisLedger(Ledger):
    """The ledger with the faults of a Redis.

    Args:
        crew: its workers.
        proxy: through which the workers (not the producers) reach the server.
    """

    crew: RedisCrew

    def __init__(self, crew: RedisCrew, seed: int, proxy: Proxy, producers: int = 3) -> None:
        super().__init__(crew, seed, producers)
        self._proxy = proxy

    def faults(self) -> list[Callable[[], None]]:
        return [
            *[self.kill_worker] * 4,
            *[self.kill_server] * 2,
            self.freeze_worker,
            self.stop_worker,
            self.fill_memory,
            self.cut_workers_off,
            self.slow_down,
        ]

    def _start_producer(self) -> None:
        # Producers in processes of their own speak to a broker on this machine.
        return

    def kill_worker(self) -> None:
        worker = self.random.choice(self.crew.workers)
        name = self.crew.name_of(worker)
        running = [record for record in self._running() if record.worker == name]
        worker.kill()
        began = time.monotonic()
        self.crew.bury(worker)
        self._await_back([record.id for record in running], began)
        self.crew.start_worker()

    def kill_server(self) -> None:
        """kill -9 of Redis, which keeps its append-only file."""
        self.crew.server.kill()
        time.sleep(self.random.uniform(0, 0.5))
        self.crew.server.restart()

    def freeze_server(self) -> None:
        """The server does not answer for longer than the leases last."""
        pid = self.crew.server.process.pid
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self.crew.settings.job_lease + self.random.uniform(0.5, 1.5))
        os.kill(pid, signal.SIGCONT)

    def fill_memory(self) -> None:
        """No memory for anything new (noeviction)."""
        with self.crew.server.client() as client:
            client.config_set("maxmemory", "1")
            time.sleep(self.random.uniform(0.3, 1.0))
            client.config_set("maxmemory", "0")

    def cut_workers_off(self) -> None:
        """A partition between the workers and the server that is longer than their leases."""
        self._proxy.cut()
        time.sleep(self.crew.settings.job_lease + self.random.uniform(0.5, 1.5))
        self._proxy.heal()

    def slow_down(self) -> None:
        """100 ms more for everything on its way to or from the workers."""
        self._proxy.delay = 0.1
        time.sleep(self.random.uniform(0.5, 1.5))
        self._proxy.delay = 0.0

    def outstanding(self) -> int:
        """Jobs that are known to have been accepted and have not ended."""
        return len(self._running()) + len(self.crew.bridge.find(states=[JobState.QUEUED], most=1000))


@contextlib.contextmanager
def redis_crew(
    folder: Path, server: Redis, workers: int = 1, url: str | None = None, **changes: Any
) -> Iterator[RedisCrew]:
    """A crew that is stopped whatever happens."""
    hired = RedisCrew(folder, server, url, **changes)
    try:
        hired.start(workers)
        yield hired
    finally:
        hired.close()
