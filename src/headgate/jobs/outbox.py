"""Ends of runs on their way to the engine. One batch at a time: what ends meanwhile is the next one."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from headgate.base.clock import Clock
from headgate.base.errors import Unavailable
from headgate.base.model import Failure, Outcome, Settlement
from headgate.base.ports import JobSource
from headgate.jobs.run import Run

log = logging.getLogger(__name__)

WAIT: Final = 0.5
"""Seconds before an engine that was away is asked again."""
MOST: Final = 256
"""Ends handed over at once."""


@dataclass(frozen=True, slots=True)
class End:
    """One run and what is said of it."""

    run: Run
    said: Settlement


class Outbox:
    """Hands ends over, each after what its job has said before. While the engine is away they wait.

    An end that the engine will not have, for whatever reason, must not hold up the others, nor keep its lease: it is
    replaced by a failure that says so, and if even that is refused the lease is let go, so that the job runs again.

    Args:
        worker: the job worker's name.
        report: sends what a run has said; False if that has to wait.
        closed: called when a run is over for this worker: whether its end counted, None if it was given up.
    """

    def __init__(
        self,
        worker: str,
        source: JobSource,
        clock: Clock,
        report: Callable[[Run], Awaitable[bool]],
        closed: Callable[[End, bool | None], None],
    ) -> None:
        self._worker = worker
        self._source = source
        self._clock = clock
        self._report = report
        self._closed = closed
        self._waiting: deque[End] = deque()
        self._under_way: Sequence[End] = ()
        self._some = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, ends: Iterable[End]) -> None:
        """Take ends; on the loop."""
        self._waiting.extend(ends)
        if self._waiting:
            self._empty.clear()
            self._some.set()

    async def empty(self) -> None:
        """Wait until everything has been handed over."""
        await self._empty.wait()

    async def work(self) -> None:
        """Hand over as ends come; runs for as long as the worker."""
        while True:
            await self._some.wait()
            batch = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
            await self._hand_over(batch)
            if not self._waiting:
                self._some.clear()
                self._empty.set()

    async def _hand_over(self, batch: Sequence[End]) -> None:
        speaking = [self._events(end.run) for end in batch if end.run.unsaid()]
        if speaking:
            await asyncio.gather(*speaking)
        try:
            flags: Sequence[bool | None] = await self._settle(batch)
        except Exception as exc:
            log.error("%d ends of jobs were not taken together: %s", len(batch), exc)
            flags = [await self._alone(end) for end in batch]
        for end, accepted in zip(batch, flags, strict=True):
            self._closed(end, accepted)

    async def _events(self, run: Run) -> None:
        while run.unsaid() and not run.lost and not await self._report(run):
            await self._clock.sleep(WAIT)

    async def _alone(self, end: End) -> bool | None:
        try:
            return (await self._settle([end]))[0]
        except Exception as exc:
            log.exception("the end of job %s cannot be handed over; it is called a failure", end.run.id)
            reason = f"the job was done, but its end could not be handed over: {type(exc).__name__}: {exc}"
        failure = Failure("NotHandedOver", reason)
        said = Settlement(id=end.run.id, epoch=end.run.epoch, outcome=Outcome.GIVE_UP, failure=failure)
        try:
            return (await self._settle([End(end.run, said)]))[0]
        except Exception:
            log.exception("not even the failure of job %s is taken; its lease is let go", end.run.id)
            return None

    async def _settle(self, ends: Sequence[End]) -> Sequence[bool]:
        settlements = [end.said for end in ends]
        while True:
            try:
                return await self._source.settle(self._worker, settlements)
            except Unavailable as exc:
                # The leases are renewed meanwhile, and a result that exists must not be lost.
                log.warning("%d results cannot be handed over yet: %s", len(settlements), exc)
                await self._clock.sleep(WAIT)
