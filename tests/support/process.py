"""One child process of a test: its log in a file, its end by its pid, its death with the test run."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.support.wait import until

PR_SET_PDEATHSIG = 1
EXTRA_PATH = ("/usr/sbin", "/usr/local/sbin", "/usr/pgsql/bin")


class MissingProgram(RuntimeError):
    """A program that tests start is not on this machine."""


def program(*names: str) -> str:
    """The path of the first of the programs that is here, also where Debian and RHEL hide them.

    Those of a virtual environment do not count: in ours there is an old Redis, and it may be the active one.

    Raises:
        MissingProgram: none is.
    """
    given = [folder for folder in os.environ.get("PATH", "").split(os.pathsep) if not _of_an_environment(folder)]
    folders = [*EXTRA_PATH, *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)]
    path = os.pathsep.join([*given, *folders])
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    raise MissingProgram(f"{' or '.join(names)} is not on this machine; run tools/system-packages test")


def _of_an_environment(folder: str) -> bool:
    return (Path(folder).parent / "pyvenv.cfg").exists()


def unprivileged() -> str | None:
    """The user to run a server as that refuses root, or None when this process is not root."""
    if os.getuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)


def die_with_parent() -> None:
    """Ask the kernel to end this process when the test run dies, however it dies (prctl(2))."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Process:
    """A started program whose output goes to `folder/name.log`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
    ) -> None:
        self.name = name
        self.log_path = folder / f"{name}.log"
        identity: dict[str, Any] = {}
        if user is not None:
            entry = pwd.getpwnam(user)
            identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        with self.log_path.open("ab") as log:
            self.popen = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if env is None else {**os.environ, **env},
                cwd=cwd or folder,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - runs one system call, before any thread of the child
                **identity,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def alive(self) -> bool:
        return self.popen.poll() is None

    def log(self) -> str:
        """All that the process has written so far."""
        return self.log_path.read_text(errors="replace")

    def wait_ready(self, ready: Callable[[], bool], seconds: float = 20.0) -> Self:
        """Wait until `ready()`; a process that ends before it fails at once, with its log."""

        def state() -> bool:
            if not self.alive():
                raise AssertionError(
                    f"{self.name} ended with {self.popen.returncode} before it was ready:\n{self.log()}"
                )
            return ready()

        try:
            until(state, f"{self.name} ready", seconds)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self, order: signal.Signals = signal.SIGTERM, seconds: float = 15.0) -> int:
        """Ask the process to end; kill it at the deadline. Returns its exit status (negative: signal)."""
        if self.alive():
            self.popen.send_signal(order)
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.popen.wait(seconds)

    def kill(self) -> int:
        """`kill -9`, and reap."""
        return self.stop(signal.SIGKILL)
