"""How often and how long a chunk is tried again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from headgate.bulk.errors import Stuck
from headgate.bulk.failures import TryAgain


class Patience:
    """Exponential waits with jitter between tries of one chunk; a chunk that passes restores it.

    Args:
        tries: how often one chunk is tried before the write gives up.
        first, most: seconds of the first and the longest wait.
        sleep: how to wait (a test turns its own clock).
        jitter: a number from 0 to 1 each time it is called.
    """

    def __init__(
        self,
        tries: int = 10,
        first: float = 0.05,
        most: float = 5.0,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._tries = tries
        self._first = first
        self._most = most
        self._sleep = sleep
        self._jitter = jitter
        self._failures = 0
        self.retries = 0

    def passed(self) -> None:
        """A chunk was committed."""
        self._failures = 0

    def failed(self, problem: TryAgain) -> None:
        """Wait before the next try.

        Raises:
            Stuck: this was the last try.
        """
        self._failures += 1
        self.retries += 1
        if self._failures >= self._tries:
            raise Stuck(
                f"the same chunk failed {self._failures} times, last with: {problem.reason}. What was committed stays; "
                "run it again with the same name= to go on from there"
            ) from problem
        wait = min(self._most, self._first * 2 ** (self._failures - 1))
        self._sleep(wait * (0.5 + 0.5 * self._jitter()))
