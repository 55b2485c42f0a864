"""How many handshakes a gateway takes on at a time. Pure: time and chance are given.

After a restart all clients come back at once. Those that are too many are refused cheaply, and each is told a time
of its own: spread over as long as all of them need at the rate that is admitted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from headgate.gateway.limits import Bucket

SOONEST: Final = 1.0
LATEST: Final = 60.0
"""Seconds until a refused client is asked to come back."""
PACE: Final = 200.0
"""Handshakes per second that are reckoned with where no rate is set."""


class Admission:
    """Lets handshakes in by rate and by number.

    Args:
        rate: per second; 0 for no bound.
        most: under way at one time.
        chance: a random number from 0 to 1.
    """

    def __init__(self, rate: float, most: int, chance: Callable[[], float]) -> None:
        self._bucket = Bucket(rate)
        self._pace = rate or PACE
        self._most = most
        self._chance = chance
        self._crowd = 0.0
        self._at = 0.0

    def bound(self, under_way: int) -> str:
        """The setting by which a handshake was just refused."""
        return "handshakes" if under_way >= self._most else "handshake_rate"

    def refused(self, under_way: int, now: float) -> float:
        """0.0 when one more may begin, else the seconds after which its client may try again.

        Args:
            under_way: handshakes that the app is at.
            now: seconds that never step back.
        """
        if under_way < self._most and not self._bucket.take(now):
            return 0.0
        self._crowd = max(0.0, self._crowd - (now - self._at) * self._pace) + 1
        self._at = now
        return SOONEST + min(LATEST - SOONEST, 1.0 + self._crowd / self._pace) * self._chance()
