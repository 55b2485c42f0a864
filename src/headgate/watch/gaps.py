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
_LEAST: Final = 30 * MS
_BEHIND: Final = 5 * MS
"""Small latenesses that may add up before the run queue is asked about again: its account is dear to read."""


@dataclass(frozen=True)
class Gap:
    """A stretch in which the watchdog could not turn."""

    begin: int
    end: int
    why: str
    cpu: int = 0
    """CPU time of the whole process in it, at least."""
    uncertain: int = 0
    """Nanoseconds by which its begin may be wrong: it fell into a pause of the watchdog's."""

    def overlap(self, begin: int, end: int) -> int:
        return max(0, min(end, self.end) - max(begin, self.begin))


class Gaps:
    """Kept by the watchdog on its own thread.

    Args:
        tick: the shortest of its pauses, ns.
        cpu: CPU time of the process when the watchdog was made, ns.
        made: when that was.
    """

    def __init__(self, tick: int, cpu: int, made: int) -> None:
        self._tick = tick
        self._thread = Thread(get_ident(), get_native_id())
        self._queued = self._thread.queued()
        self._behind = 0
        self._switches = _switches()
        self._cpu, self._cpu_at = cpu, made
        self._skipped = 0
        self._first = True
        self.recent: deque[Gap] = deque(maxlen=64)

    def close(self) -> None:
        """Give the descriptors back."""
        self._thread.close()

    def turn(self, last: int, now: int, pause: int) -> Gap | None:
        """Called each turn; the gap since the turn before, if there was one.

        Args:
            last: time of the turn before.
            now: of this one.
            pause: nanoseconds that were meant to lie between them.
        """
        switches, process = _switches(), time.process_time_ns()
        slept, cpu = switches - self._switches - self._skipped, process - self._cpu
        cpu -= last + pause - self._cpu_at  # it may be of the time before
        self._switches, self._cpu, self._cpu_at, self._skipped = switches, process, now, 0
        late = now - last - pause
        self._behind += max(0, late)
        if late < max(3 * self._tick - pause, _LEAST):
            self._first = False
            if self._behind > _BEHIND:
                self._asked()
            return None
        gap = Gap(last + pause // 2, now, self._why(late, slept, self._asked()), max(0, cpu), pause // 2)
        self.recent.append(gap)
        return gap

    def punctual(self, late: int) -> None:
        """Called instead, for a turn of which nothing but its lateness is to be known, and that is small."""
        self._skipped += 1
        self._behind += max(0, late)

    def _asked(self) -> int:
        """How long the watchdog's own thread has waited for a CPU since this was last asked, ns."""
        before, self._queued, self._behind = self._queued, self._thread.queued(), 0
        return self._queued - before

    def _why(self, late: int, slept: int, queued: int) -> str:
        """By what the watchdog's own thread did: who asks for the interpreter lock wakes again and again."""
        if self._first:  # it has only just begun: the lock was taken before it could turn
            self._first = False
            return NO_CPU if self._queued >= late // 2 else HELD
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
