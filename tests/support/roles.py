"""Single roles as real processes, without a supervisor: the test takes its part."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headgate.base.frames import FrameReader
from headgate.config.settings import Role, Settings
from headgate.supervisor import channel
from headgate.supervisor.channel import Brief, process_name
from headgate.supervisor.spawn import spawn

DEADLINE = 30.0
"""Seconds within which a role must have started or ended."""


class RoleProcess:
    """One role's process.

    Args:
        role: which.
        settings: its settings; `data` must be a folder of the test's own.
        folder: the current folder of the process: where its app is.
        wrap: a command line that comes before that of the role (`prlimit`, say).
        replaces: the name of the dead process whose place it takes.
    """

    def __init__(
        self,
        role: Role,
        settings: Settings,
        folder: Path,
        index: int = 0,
        wrap: tuple[str, ...] = (),
        replaces: str | None = None,
    ) -> None:
        brief = Brief(
            role=role,
            index=index,
            generation=1,
            settings=settings,
            supervisor=os.getpid(),
            channel=-1,
            replaces=replaces,
        )
        here = os.getcwd()

        def command(name: str) -> list[str]:
            return [*wrap, sys.executable, "-P", "-m", f"headgate.roles.{name}"]

        os.chdir(folder)
        try:
            self.process, self._socket = spawn(brief, command)
        finally:
            os.chdir(here)
        self.name = process_name(role, None, index, 1, self.process.pid)
        self.failure: channel.Failed | None = None
        self.stats: dict[str, Any] = {}
        self._ready = False
        self._frames = FrameReader(channel.FRAME_LIMIT)
        self._socket.setblocking(True)

    def wait_ready(self) -> RoleProcess:
        """Wait until it can take work; fails if it ends before."""
        until = time.monotonic() + DEADLINE
        while not self._ready and self.failure is None and self._hear(until):
            pass
        assert self._ready, f"{self.name} did not become ready: {self.failure}"
        return self

    def wait_failed(self) -> channel.Failed:
        """Wait until it has said why it cannot start."""
        until = time.monotonic() + DEADLINE
        while self.failure is None and self._hear(until):
            pass
        assert self.failure is not None, f"{self.name} has not said that it failed"
        self.process.wait(DEADLINE)
        return self.failure

    def wait_stats(self, wanted: Any) -> dict[str, Any]:
        """Wait for a report that `wanted` accepts."""
        until = time.monotonic() + DEADLINE
        while not wanted(self.stats):
            assert self._hear(until), f"{self.name} ended or was silent; its last report was {self.stats}"
        return self.stats

    def tell(self, kind: str, data: Mapping[str, Any]) -> None:
        """A notice of the supervisor."""
        self._socket.sendall(channel.encode(channel.Notice(kind, dict(data))))

    def stop(self, seconds: float = 5.0) -> int:
        """Order it to stop; returns its exit code."""
        if self.process.poll() is None:
            self._socket.sendall(channel.encode(channel.Stop(seconds)))
        code = self.process.wait(DEADLINE + seconds)
        self._socket.close()
        return code

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(DEADLINE)
        self._socket.close()

    def close(self) -> None:
        """End it, however it is."""
        if self.process.poll() is None:
            self.kill()
        self._socket.close()

    def _hear(self, until: float) -> bool:
        self._socket.settimeout(max(0.01, until - time.monotonic()))
        try:
            data = self._socket.recv(65536)
        except (TimeoutError, ConnectionError):
            return False
        for payload in self._frames.feed(data):
            message = channel.decode_to_supervisor(payload)
            if isinstance(message, channel.Ready):
                self._ready = True
            elif isinstance(message, channel.Failed):
                self.failure = message
            elif isinstance(message, channel.Report):
                self.stats = message.stats
        return bool(data)
