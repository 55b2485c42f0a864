"""A disk that is full when a test says so.

A small tmpfs where the system lets one be mounted: then write(2), ftruncate(2) and the rest fail as they do on a full
disk. Elsewhere no file of the process may grow (RLIMIT_FSIZE), which reaches SQLite as the same failure of its writes.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

MIB = 1 << 20


class Disk(Protocol):
    """Fills up and gives room again."""

    folder: Path

    def fill(self, leave: int = 0) -> None:
        """Leave only so many bytes."""

    def free(self) -> None:
        """Give the room back."""


class Tmpfs:
    """A real file system of a few MiB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, leave: int = 0) -> None:
        with contextlib.suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        if leave:
            os.truncate(self._ballast, max(0, self._ballast.stat().st_size - leave))

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)


class Bounded:
    """The fallback: the files of one process cannot grow.

    Args:
        pid: of that process, asked for anew each time.
    """

    def __init__(self, folder: Path, pid: Callable[[], int]) -> None:
        self.folder = folder
        self._pid = pid

    def fill(self, leave: int = 0) -> None:
        size = max((path.stat().st_size for path in self.folder.rglob("broker.db*")), default=0)
        self._limit(max(1, size + leave - MIB))

    def free(self) -> None:
        self._limit(resource.prlimit(self._pid(), resource.RLIMIT_FSIZE)[1])

    def _limit(self, size: int) -> None:
        pid = self._pid()
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]))


@contextlib.contextmanager
def small_disk(folder: Path, pid: Callable[[], int], mib: int = 16) -> Iterator[Disk]:
    """A disk for a test, mounted at `folder` where that is allowed.

    Args:
        pid: the process whose files are bounded where it is not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "headgate-test", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        yield Bounded(folder, pid)
        return
    try:
        yield Tmpfs(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
