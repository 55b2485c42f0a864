"""Taking claims: as many as this worker's appetite says, and for a function that takes lists, a list of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from headgate.base.clock import Clock
from headgate.base.errors import HeadgateError
from headgate.base.model import Claim
from headgate.base.ports import JobSource
from headgate.declare.job import Batching
from headgate.jobs.appetite import Appetite

log = logging.getLogger(__name__)

WAIT: Final = 0.5
"""Seconds before an engine that was away is asked again."""
PART: Final = 1 / 3
"""Of its lease that a claim may wait for others to fill its list."""


class Intake:
    """Takes for as long as it is let.

    Args:
        worker: the job worker's name.
        queues: to take from.
        functions: that the code of this process knows.
        batching: of the functions that take lists.
        appetite: how many claims are wanted.
        holding: how many claims this worker has.
        give: is given claims that belong into one call, and whether that is one for a list.
    """

    def __init__(
        self,
        worker: str,
        source: JobSource,
        clock: Clock,
        queues: Sequence[str],
        functions: Sequence[str],
        batching: Mapping[str, Batching],
        appetite: Appetite,
        holding: Callable[[], int],
        give: Callable[[Sequence[Claim], bool], None],
    ) -> None:
        self._worker = worker
        self._source = source
        self._clock = clock
        self._queues = list(queues)
        self._functions = list(functions)
        self._batching = batching
        self._appetite = appetite
        self._holding = holding
        self._give = give
        self._room = asyncio.Event()

    def look(self) -> None:
        """There may be room for more."""
        self._room.set()

    async def work(self) -> None:
        """Take claims and give them on, until it is cancelled."""
        while True:
            most = self._appetite.most
            if self._holding() > (0 if most == 1 else most // 2):
                self._room.clear()
                await self._room.wait()
                continue
            try:
                claims = await self._source.take(self._worker, self._queues, most, self._functions)
                await self._sort(claims)
            except HeadgateError as exc:
                log.warning("no jobs can be taken: %s", exc)
                await self._clock.sleep(WAIT)

    async def _sort(self, claims: Sequence[Claim]) -> None:
        """Give single jobs at once; fill up each list first."""
        # Nobody renews what is still being collected, so that all lists together have a part of the lease for it.
        until = self._clock.monotonic() + min((claim.lease for claim in claims), default=0.0) * PART
        lists: dict[str, list[Claim]] = {}
        for claim in claims:
            if claim.job.spec.function not in self._batching:
                self._give([claim], False)
            elif tried(claim):
                self._give([claim], True)
            else:
                lists.setdefault(claim.job.spec.function, []).append(claim)
        try:
            while lists:
                await self._fill(*lists.popitem(), until)
        finally:
            # Also when the worker drains meanwhile: what is given can be handed back, what is kept here could not.
            for function, begun in lists.items():
                self._give_lists(function, begun)

    async def _fill(self, function: str, begun: list[Claim], until: float) -> None:
        most, linger = self._batching[function]
        until = min(until, self._clock.monotonic() + linger)
        try:
            while len(begun) < most and (left := until - self._clock.monotonic()) > 0:
                more = self._source.take(self._worker, self._queues, most - len(begun), [function])
                claims = await self._within(left, more)
                if not claims:
                    break
                begun += [claim for claim in claims if not tried(claim)]
                for claim in claims:
                    if tried(claim):
                        self._give([claim], True)
        finally:
            self._give_lists(function, begun)

    def _give_lists(self, function: str, begun: Sequence[Claim]) -> None:
        most = self._batching[function].most
        for at in range(0, len(begun), most):
            self._give(begun[at : at + most], True)

    async def _within(self, seconds: float, take: Coroutine[Any, Any, Sequence[Claim]]) -> Sequence[Claim]:
        """A take that is given up after some time; the engine gets back what it may have given too late."""
        taking = asyncio.ensure_future(take)
        waiting = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((taking, waiting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            if not taking.done():
                taking.cancel()
        try:
            return await taking
        except asyncio.CancelledError:
            if not taking.cancelled():
                raise
            return ()


def tried(claim: Claim) -> bool:
    """Whether a try of it has failed or taken its worker along: it runs by itself then, and spoils no list again."""
    return claim.job.failures > 0 or claim.job.losses > 0
