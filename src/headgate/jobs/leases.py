"""Keeping the leases of what a job worker holds, and hearing that a job is to end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from headgate.base.channels import ChannelNames
from headgate.base.clock import Clock
from headgate.base.errors import HeadgateError
from headgate.base.model import CANCELS
from headgate.base.ports import Engine
from headgate.jobs.run import Run

log = logging.getLogger(__name__)

PARTS: Final = 3
"""A lease is renewed so often within its time."""
AGAIN: Final = 0.5
"""Seconds before a renewal that failed is tried again."""
WAIT: Final = 1.0
"""Seconds before cancellations are listened for again after an error."""


class Leases:
    """The runs that this worker holds, by job id.

    Args:
        worker: its name.
        told: called after a verdict on a run has been noted in it.
    """

    def __init__(self, worker: str, engine: Engine, clock: Clock, told: Callable[[], None]) -> None:
        self.held: dict[str, Run] = {}
        self._worker = worker
        self._engine = engine
        self._clock = clock
        self._told = told
        self._length = 15.0
        self._some = asyncio.Event()

    def hold(self, run: Run) -> None:
        """A claim has come."""
        self._length = run.claim.lease
        self.held[run.id] = run
        self._some.set()

    def drop(self, run: Run) -> None:
        """The claim has ended. Another one of the same job, with a later fence, stays."""
        if self.held.get(run.id) is run:
            del self.held[run.id]
        if not self.held:
            self._some.clear()

    async def some(self) -> None:
        """Wait until something is held."""
        await self._some.wait()

    async def keep(self) -> None:
        """Renew for as long as the worker lives."""
        while True:
            await self.some()
            await self._clock.sleep(self._length / PARTS)
            while not await self.renew():
                await self._clock.sleep(min(AGAIN, self._length / PARTS))

    async def hear(self) -> None:
        """Look at once when somebody says that a job held here is to end: the channel is a hint, renewing tells."""
        names = ChannelNames()
        names.add(CANCELS)
        while True:
            try:
                async for _, job in self._engine.channels.subscribe(names):
                    if job.decode(errors="replace") in self.held:
                        await self.renew()
            except HeadgateError as exc:
                log.warning("cancellations are not heard at the moment: %s", exc)
            await self._clock.sleep(WAIT)

    async def renew(self) -> bool:
        """Renew once, and note what the engine says of each; False if the engine could not be asked."""
        held = {run.id: run.epoch for run in self.held.values() if not run.lost}
        if not held:
            return True
        try:
            verdicts = await self._engine.source.renew(self._worker, held)
        except HeadgateError as exc:
            log.warning("leases cannot be renewed: %s", exc)
            return False
        for job, verdict in verdicts.items():
            run = self.held.get(job)
            if run is not None and run.epoch == held[job]:
                run.lost = run.lost or verdict == "lost"
                run.cancel_requested = run.cancel_requested or verdict == "cancel"
        if verdicts:
            self._told()
        return True
