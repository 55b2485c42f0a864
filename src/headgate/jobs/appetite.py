"""How many jobs to claim at once: one of slow ones, many of short ones."""

from __future__ import annotations

import math
from typing import Final

MOST: Final = 64
AHEAD: Final = 0.05
"""Seconds of work that may be leased ahead."""
WEIGHT: Final = 0.2
"""Of the newest run time in the average."""


class Appetite:
    """Learns from the run times of this worker. It starts modest and falls at once when a job is slow."""

    def __init__(self) -> None:
        self._average = AHEAD

    def ran(self, seconds: float) -> None:
        """A job took this long."""
        if seconds > AHEAD:
            self._average = seconds
        else:
            self._average += WEIGHT * (seconds - self._average)

    @property
    def most(self) -> int:
        """Claims to ask for, 1 to `MOST`."""
        return max(1, min(MOST, math.floor(AHEAD / max(self._average, 1e-6))))
