"""What a try used: CPU time and peak memory."""

from __future__ import annotations

import contextlib
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
    """Measures one try after the other in this process."""

    def __init__(self) -> None:
        self._cpu = 0.0
        self._reset_at = float("-inf")

    def start(self) -> None:
        now = time.monotonic()
        if now - self._reset_at > _RESET_AFTER:
            self._reset_at = now
            _reset_peak()
        self._cpu = time.process_time()

    def read(self) -> Used:
        return Used(time.process_time() - self._cpu, peak_rss())


def peak_rss() -> int:
    """Greatest resident memory in bytes, since the last reset where the kernel knows that (Linux, proc(5))."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open("/proc/self/status", "rb") as status:
            line = next(line for line in status if line.startswith(b"VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def rss() -> int:
    """Resident memory now, in bytes; the peak where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()
    return peak_rss()


def _reset_peak() -> None:
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "wb") as clear:
        clear.write(b"5")
