"""How many rows the next chunk has: a pure controller of the time that locks are held."""

from __future__ import annotations

from headgate.bulk.model import Politeness


class Steering:
    """Grows and shrinks the chunk so that its transaction lasts about `lock_target` seconds.

    The duration steers, not the latency that others see: a canary statement would see the contention of
    fsync as well, which the transaction's duration does not.
    """

    GROW = 1.5
    SHRINK = 0.5

    def __init__(self, politeness: Politeness) -> None:
        self._target = politeness.lock_target
        self._least = politeness.least
        self._most = politeness.most
        self.rows = politeness.first

    def observe(self, rows: int, seconds: float) -> None:
        """A chunk of `rows` held its locks for `seconds`; a chunk smaller than asked for says nothing of growth."""
        ratio = self._target / max(seconds, 1e-6)
        if ratio >= 1 and rows < self.rows:
            return
        self._set(self.rows * min(max(ratio, self.SHRINK), self.GROW))

    def halve(self) -> None:
        """A chunk was too much for the timeouts."""
        self._set(self.rows * self.SHRINK)

    def rest(self, seconds: float, duty: float) -> float:
        """How long to rest after a chunk that took `seconds`, so that `duty` of the time is spent writing."""
        return seconds * (1 / duty - 1)

    def _set(self, rows: float) -> None:
        self.rows = max(self._least, min(self._most, int(rows)))
