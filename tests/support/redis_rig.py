"""A Redis engine whose time a test turns."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable

from headgate.base.clock import ManualClock
from headgate.drivers.local.store import Limits
from headgate.drivers.redis import RedisEngine

QUIET = 5
"""Turns of the loop without anything under way: whoever was woken by an answer has asked by then."""

_names = itertools.count()


class RemoteClock(ManualClock):
    """A manual clock for an engine that has to ask a server before it goes on.

    It moves only when all that the last movement started has been done.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rests: Callable[[], bool] = lambda: True

    async def advance(self, seconds: float) -> None:
        until = self.monotonic() + seconds
        await self._rest()
        while self._sleepers and self._sleepers[0][0] <= until:
            await super().advance(max(0.0, self._sleepers[0][0] - self.monotonic()))
            await self._rest()
        await super().advance(until - self.monotonic())
        await self._rest()

    async def _rest(self) -> None:
        deadline = asyncio.get_running_loop().time() + 10
        quiet = 0
        while quiet < QUIET:
            assert asyncio.get_running_loop().time() < deadline, "the engine's upkeep does not come to rest"
            await asyncio.sleep(0)
            asleep = any(not future.done() for _, _, future in self._sleepers)
            quiet = quiet + 1 if asleep and self.rests() else 0


def engine(url: str, clock: RemoteClock, limits: Limits) -> RedisEngine:
    """An engine with keys of its own, not yet open."""
    made = RedisEngine(f"{url}?namespace=t{os.getpid()}-{next(_names)}", limits=limits, clock=clock)
    clock.rests = lambda: made.resting
    return made
