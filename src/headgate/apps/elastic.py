"""How many handlers the slow lane's worker runs at once: more while its threads wait, fewer again when they are idle.

A slow handler that waits (for a database, for another server) holds a thread and no CPU; forty of them can hold up
the forty-first for nothing. So when all slots have been taken for a while and the process computes little, there
are more slots, up to a bound. A process that computes gets none: its threads would only take turns. Pure.
"""

from __future__ import annotations

from typing import Final

FULL_FOR: Final = 0.3
"""Seconds for which all slots must have been taken before there are more."""
COMPUTING: Final = 0.5
"""The share of one core's time from which on a process computes rather than waits."""
CALM: Final = 10.0
"""Seconds after which slots that nobody needed go."""


class Elastic:
    """The slots of one app worker.

    Args:
        base: slots that there are always.
        most: slots at most; as many as `base`, or fewer, for no growth.
        now, cpu: as for `look`.
    """

    def __init__(self, base: int, most: int, now: float, cpu: float) -> None:
        self.slots = self.base = base
        self.most = max(base, most)
        self._full_since: float | None = None
        self._cpu_then = cpu
        self._calm_since = now
        self._peak = 0

    def look(self, busy: int, now: float, cpu: float) -> bool:
        """Called a few times a second: whether `slots` has changed.

        Args:
            busy: handlers that run or are about to.
            now: seconds that never step back.
            cpu: seconds of CPU that the process has used.
        """
        self._peak = max(self._peak, busy)
        if busy < self.slots:
            self._full_since = None
            return self._shrink(now)
        self._calm_since, self._peak = now, busy
        if self._full_since is None:
            self._full_since, self._cpu_then = now, cpu
            return False
        span = now - self._full_since
        if span < FULL_FOR or self.slots >= self.most:
            return False
        share = (cpu - self._cpu_then) / span
        self._full_since, self._cpu_then = now, cpu
        if share >= COMPUTING:
            return False
        self.slots = min(self.most, self.slots + max(1, self.slots // 2))
        return True

    def _shrink(self, now: float) -> bool:
        if now - self._calm_since < CALM:
            return False
        fitting = max(self.base, self._peak + self._peak // 4)
        self._calm_since, self._peak = now, 0
        if fitting >= self.slots:
            return False
        self.slots = fitting
        return True
