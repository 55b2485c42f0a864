"""What a try used: CPU time and peak memory."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import time
from typing import Final, NamedTuple

_RESET_AFTER: Final = 1.0
"""Seconds between two resets of the kernel's peak, which cost more than a short job."""


class Used(NamedTuple):
    cpu: float
    """CPU seconds of the process since the meter started."""
    peak_rss: int
    """Bytes."""


class Meter:
    """Measures one try after the other in this process, which must be the one that made it."""

    def __init__(self) -> None:
        self._cpu = 0.0
        self._reset_at = float("-inf")
        # Kept open: opening it takes longer than reading it, and than many a job.
        self._status = _opened("/proc/self/status")

    def __del__(self) -> None:
        if self._status is not None:
            os.close(self._status)

    def start(self) -> None:
        now = time.monotonic()
        if now - self._reset_at > _RESET_AFTER:
            self._reset_at = now
            _reset_peak()
        self._cpu = time.process_time()

    def read(self) -> Used:
        return Used(time.process_time() - self._cpu, self._peak())

    def _peak(self) -> int:
        """Greatest resident memory in bytes, since the last reset where the kernel knows that (Linux, proc(5))."""
        if self._status is not None:
            with contextlib.suppress(OSError, ValueError):
                said = os.pread(self._status, 4096, 0)
                begin = said.index(b"VmHWM:") + len(b"VmHWM:")
                return int(said[begin : said.index(b"kB", begin)]) * 1024
        return _peak_of_all()


def _opened(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def rss() -> int:
    """Resident memory now, in bytes; the peak where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()
    return _peak_of_all()


def _peak_of_all() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _reset_peak() -> None:
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "wb") as clear:
        clear.write(b"5")
