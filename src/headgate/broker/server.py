"""The broker process: one lock, one file, one socket, one desk."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from headgate.base import marks
from headgate.base.clock import Clock, SystemClock
from headgate.base.errors import ConfigError
from headgate.base.ports import StopSignal
from headgate.broker.connection import Connection
from headgate.broker.lock import InstanceLock
from headgate.drivers.local import claims, lookup
from headgate.drivers.local.desk import Desk
from headgate.drivers.local.store import MEMORY, Limits, Store

SOCKET_PATH_LIMIT = 103 if sys.platform == "darwin" else 107
"""Bytes that the kernel allows for the path of a Unix socket."""


class Broker:
    """A `Service` (base.ports).

    Args:
        data: the data folder; made if it is missing.
        limits: the bounds.
        durable: False keeps everything in memory: `--broker memory`.
        first: no job worker can be alive from before, so what was running goes back without waiting for its lease.
    """

    def __init__(
        self,
        data: Path,
        limits: Limits,
        *,
        durable: bool = True,
        first: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.socket = data / "run" / "broker.sock"
        self._data = data
        self._marks = data / "run" / "marks"
        self._limits = limits
        self._durable = durable
        self._first = first
        self._clock = clock or SystemClock()
        self._connections: set[Connection] = set()
        self.desk: Desk | None = None

    async def run(self, ready: Callable[[], None], stop: StopSignal) -> None:
        """Serve until `stop`.

        Raises:
            ConfigError: the folder is in use, its file is not ours or newer, or its path is too long.
        """
        self._check_path()
        self.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Whoever made the folder before us may have left it open to others; the socket in it takes anybody's word.
        self.socket.parent.chmod(0o700)
        lock = InstanceLock(self._data)
        try:
            store = Store(self._data / "broker.db" if self._durable else MEMORY, self._clock, self._limits)
            try:
                await self._serve(store, ready, stop)
            finally:
                store.close()
        finally:
            lock.release()

    def report(self) -> dict[str, Any]:
        """What `headgate status` shows of the broker."""
        if self.desk is None:
            return {}
        desk = self.desk
        return {
            "clients": len(self._connections),
            "waiting_workers": len(desk.waiting),
            "following": len(desk.subscriptions),
            "failing": desk.failing,
            "jobs": lookup.stats(desk.store),
        }

    async def _serve(self, store: Store, ready: Callable[[], None], stop: StopSignal) -> None:
        with ThreadPoolExecutor(1, thread_name_prefix="broker-commit") as writer:
            self.desk = desk = Desk(store, self._clock, writer if self._durable else None, self._running)
            # The lock is ours, so a socket that is there was left by a broker that is dead.
            with contextlib.suppress(FileNotFoundError):
                self.socket.unlink()
            loop = asyncio.get_running_loop()
            server = await loop.create_unix_server(
                lambda: Connection(desk, self._connections), str(self.socket), backlog=1024
            )
            self.socket.chmod(0o600)
            if self._first:
                for worker in claims.holders(store):
                    desk.worker_died(worker)
                shutil.rmtree(self._marks, ignore_errors=True)
            desk.start()
            try:
                ready()
                await stop.wait()
            finally:
                server.close()
                with contextlib.suppress(FileNotFoundError):
                    self.socket.unlink()
                await desk.stop()
                for connection in list(self._connections):
                    connection.close()

    def _running(self, worker: str) -> list[str] | None:
        return marks.read(self._marks, worker)

    def _check_path(self) -> None:
        length = len(str(self.socket).encode())
        if length > SOCKET_PATH_LIMIT:
            raise ConfigError(
                f"the path of the broker's socket, {self.socket}, has {length} bytes; the system allows "
                f"{SOCKET_PATH_LIMIT}. Name a shorter data folder with --data"
            )
