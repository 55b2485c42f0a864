"""Time as a parameter: whoever waits or stamps asks a `Clock`, so that a test can turn it by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from typing import Protocol


class Clock(Protocol):
    """Two readings and one wait."""

    def now(self) -> float:
        """Wall-clock time in seconds since the epoch: for stamps and for times agreed between machines."""

    def monotonic(self) -> float:
        """Seconds on a clock that never steps back: for durations, leases and timeouts in one process."""

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds` on the monotonic clock."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that stands still until `advance` is called; sleepers wake in the order of their times.

    Args:
        start: the first reading of `now`, seconds since the epoch.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._monotonic = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def step(self, seconds: float) -> None:
        """Step the wall clock alone, as an operator or NTP does; no sleeper wakes."""
        self._now += seconds

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move both clocks on, waking each sleeper at its own moment and letting its task run."""
        until = self._monotonic + seconds
        while self._sleepers and self._sleepers[0][0] <= until:
            at, _, future = heapq.heappop(self._sleepers)
            self._move(at - self._monotonic)
            if not future.done():
                future.set_result(None)
            await _settle()
        self._move(until - self._monotonic)
        await _settle()

    def _move(self, seconds: float) -> None:
        self._monotonic += seconds
        self._now += seconds


async def _settle() -> None:
    """Let tasks that became ready run, and those that they made ready."""
    for _ in range(10):
        await asyncio.sleep(0)
