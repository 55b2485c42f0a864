"""Headgate itself, started as its users start it: `headgate run module:app`, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.support.marked import bearers, new_mark
from tests.support.process import Process
from tests.support.wait import accepts, free_port, until


class Headgate:
    """A running Headgate.

    Args:
        target: what to host, as `module:app`.
        folder: a short path; holds the data folder and the log.
        options: further arguments of `headgate run`.
        app_folder: where the module is; the server's working folder.
        env: further environment.
        ready: wait for `/-/ready` (a test of a boot failure does not).
    """

    def __init__(
        self,
        target: str,
        folder: Path,
        *options: str,
        app_folder: Path | None = None,
        env: dict[str, str] | None = None,
        ready: bool = True,
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = free_port()
        self.mark = new_mark()
        self.env = {"PYTHONUNBUFFERED": "1", **(env or {}), **self.mark}
        self.app_folder = app_folder or folder
        bind = f"127.0.0.1:{self.port}"
        command = [*self._headgate("run"), target, "--bind", bind, "--data", str(self.data), *options]
        self.process = Process("headgate", command, folder, env=self.env, cwd=self.app_folder)
        self._seen: dict[int, str] = {}
        if ready:
            self.process.wait_ready(self.ready, 30)
            self._seen = bearers(self.mark)

    @staticmethod
    def _headgate(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "headgate", *arguments]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self.process.pid

    def ready(self) -> bool:
        """Whether `/-/ready` says 200."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def log(self) -> str:
        """All that the supervisor and its children have printed."""
        return self.process.log()

    def command(self, *arguments: str, seconds: float = 30.0) -> str:
        """Run another `headgate` command against this server's data folder; returns what it printed."""
        done = subprocess.run(
            [*self._headgate(*arguments), "--data", str(self.data)],
            cwd=self.app_folder,
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, f"headgate {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def status(self) -> dict[str, Any]:
        """`headgate status --json`."""
        status: dict[str, Any] = json.loads(self.command("status", "--json"))
        return status

    def children(self) -> dict[str, list[int]]:
        """The process ids by role (`gateway`, `app`, `broker`, `jobs`), as the kernel has them: by command line."""
        roles: dict[str, list[int]] = {}
        for pid, line in sorted(bearers(self.mark).items()):
            words = line.split()
            role = next((word.rpartition(".")[2] for word in words if word.startswith("headgate.roles.")), None)
            if role is not None:
                roles.setdefault(role, []).append(pid)
        self._seen |= bearers(self.mark)
        return roles

    def kill(self, role: str, order: signal.Signals = signal.SIGKILL, index: int = 0) -> int:
        """Send a signal (SIGKILL by default) to one child of the role; returns its process id."""
        pid = until(lambda: self.children().get(role, [])[index : index + 1], f"a {role} process to kill")[0]
        os.kill(pid, order)
        if order == signal.SIGKILL:
            until(lambda: pid not in bearers(self.mark), f"{role} {pid} gone")
        return pid

    def reload(self) -> None:
        os.kill(self.pid, signal.SIGHUP)

    def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM, and wait; returns the exit status of the supervisor."""
        return self.process.stop(seconds=seconds)

    def leftovers(self) -> list[str]:
        """What is still there of a stopped server: processes, a listening port, socket files."""
        left = [f"process {pid}: {line}" for pid, line in bearers(self.mark).items()]
        if accepts(self.port):
            left.append(f"something still listens on port {self.port}")
        if self.data.exists():
            left += [f"socket {path}" for path in self.data.rglob("*") if path.is_socket()]
        return left

    def close(self) -> None:
        """Stop, and assert that nothing is left behind."""
        self.stop()
        try:
            until(lambda: not self.leftovers(), "nothing left behind", 10)
        except AssertionError as error:
            left = self.leftovers()
            for pid in bearers(self.mark):
                os.kill(pid, signal.SIGKILL)
            raise AssertionError("\n".join(["left behind after the stop:", *left, "log:", self.log()])) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
