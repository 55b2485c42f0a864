"""The watchdog's own lateness, and what it means: the interpreter lock was held, no CPU, or the process stood still."""

from __future__ import annotations

import resource
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from headgate.watch.causes import stood_still
from headgate.watch.machine import Thread
from headgate.watch.native import MS, get_ident, get_native_id

HELD: Final = "held"
NO_CPU: Final = "no cpu"
STILL: Final = "still"

_WHO: Final = getattr(resource, "RUSAGE_THREAD", None)


@dataclass(frozen=True)
class Gap:
    """A stretch in which the watchdog could not turn."""

    begin: int
    end: int
    why: str
    cpu: int = 0
    """CPU time of the whole process in it."""

    def overlap(self, begin: int, end: int) -> int:
        return max(0, min(end, self.end) - max(begin, self.begin))


class Gaps:
    """Kept by the watchdog on its own thread.

    Args:
        tick: nanoseconds between two of its turns.
        cpu: CPU time of the process when the watchdog was made, ns.
    """

    def __init__(self, tick: int, cpu: int) -> None:
        self._tick = tick
        self._thread = Thread(get_ident(), get_native_id())
        self._last = self._thread.read(0)
        self._switches = _switches()
        self._cpu = cpu
        self._first = True
        self.recent: deque[Gap] = deque(maxlen=64)

    def turn(self, last: int, now: int) -> Gap | None:
        """Called each turn with the times of the turn before and of this one; the gap between, if there was one."""
        switches, reading = _switches(), self._thread.read(now)
        slept, queued = switches - self._switches, reading.queued - self._last.queued
        self._switches, self._last = switches, reading
        process = time.process_time_ns()
        cpu, self._cpu = process - self._cpu, process
        late = now - last - self._tick
        if late < max(2 * self._tick, 30 * MS):
            self._first = False
            return None
        gap = Gap(last + self._tick // 2, now, self._why(late, slept, queued), cpu)
        self.recent.append(gap)
        return gap

    def _why(self, late: int, slept: int, queued: int) -> str:
        """By what the watchdog's own thread did: who asks for the interpreter lock wakes again and again."""
        if self._first:  # it has only just begun: the lock was taken before it could turn
            self._first = False
            return NO_CPU if self._last.queued >= late // 2 else HELD
        if _WHO is None:
            return HELD if queued < late // 2 else NO_CPU
        if not stood_still(late, slept, int(sys.getswitchinterval() * 1e9)):
            return HELD
        return NO_CPU if queued >= late // 2 else STILL

    def within(self, why: str, begin: int, end: int) -> int:
        """How much of a stretch gaps of a kind cover, ns; of any kind but `STILL` for ""."""
        wanted = (why,) if why else (HELD, NO_CPU)
        return sum(gap.overlap(begin, end) for gap in self.recent if gap.why in wanted)

    def cpu(self, begin: int, end: int) -> int:
        """CPU time of the process in the gaps of a stretch, ns: that of whoever held the interpreter lock."""
        return sum(gap.cpu for gap in self.recent if gap.overlap(begin, end))


def _switches() -> int:
    return 0 if _WHO is None else resource.getrusage(_WHO).ru_nvcsw
