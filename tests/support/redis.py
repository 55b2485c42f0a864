"""A private Redis (or Valkey): its own port and folder, on loopback only."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Self

import redis

from tests.support.process import Process, program
from tests.support.wait import free_port


class Redis:
    """A server of this test run, without persistence unless `options` asks for it.

    Args:
        options: further settings as in redis.conf, for example `{"appendonly": "yes"}`.
    """

    def __init__(self, options: dict[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hg-redis-", dir="/tmp"))
        self.port = free_port()
        self.settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
            **(options or {}),
        }
        self.process = self._start()

    def _start(self) -> Process:
        flags = [part for key, value in self.settings.items() for part in (f"--{key}", value)]
        process = Process("redis", [program("redis-server", "valkey-server"), *flags], self.folder)
        return process.wait_ready(self._answers)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=5)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def flush(self) -> None:
        with self.client() as client:
            client.flushall()

    def kill(self) -> None:
        """`kill -9`: what a power cut does to it."""
        self.process.kill()

    def restart(self) -> None:
        """Start again on the same port and folder."""
        self.process = self._start()

    def close(self) -> None:
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
