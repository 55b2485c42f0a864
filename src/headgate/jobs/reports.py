"""What jobs say of themselves, sent on: progress at most ten times a second, all of it before the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from headgate.base.clock import Clock
from headgate.base.errors import HeadgateError, LeaseLost, Unavailable
from headgate.base.ports import JobSource
from headgate.jobs.run import Run

log = logging.getLogger(__name__)

PROGRESS: Final = 0.1
"""Seconds between two reports of one job's progress at least."""


class Reports:
    """Sends the events of runs.

    Args:
        source: takes them.
        send: runs a coroutine in the keeper's loop and waits for it before the worker ends.
        lost: told of a run whose lease has passed to another.
    """

    def __init__(
        self,
        source: JobSource,
        clock: Clock,
        send: Callable[[Coroutine[Any, Any, Any]], None],
        lost: Callable[[Run], None],
    ) -> None:
        self._source = source
        self._clock = clock
        self._send = send
        self._lost = lost
        self._woken: dict[Run, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Must be called on the loop."""
        self._loop = asyncio.get_running_loop()

    def wake(self, run: Run) -> None:
        """A job has said something (from any thread). What comes too soon waits for the keeper's next look."""
        if run not in self._woken and self._loop is not None and self._clock.monotonic() - run.sent_at >= PROGRESS:
            self._woken[run] = None
            self._loop.call_soon_threadsafe(self.look, run)

    def look(self, run: Run) -> None:
        """Send what the run has said, if it is time."""
        self._woken.pop(run, None)
        if run.ended or run.sending.locked():
            return
        if run.has_pending() and self._clock.monotonic() - run.sent_at >= PROGRESS:
            self._send(self.report(run))

    async def report(self, run: Run) -> bool:
        """Send what the run has said; False if it has to wait."""
        async with run.sending:
            return await self._report(run)

    async def _report(self, run: Run) -> bool:
        events = run.pending()
        run.sent_at = self._clock.monotonic()
        try:
            if events:
                await self._source.progress(run.id, run.epoch, events)
        except LeaseLost:
            self._lost(run)
        except Unavailable as exc:
            log.warning("events of job %s wait: %s", run.id, exc)
            run.put_back(events)
            return False
        except Exception:
            # What the engine will never take must not hold up the end of the job.
            log.exception("%d events of job %s are given up", len(events), run.id)
        run.sent()
        return True

    def save(self, run: Run, checkpoint: bytes) -> None:
        """In the main thread: store a checkpoint, after what the job has said before it; returns when it is durable.

        Raises:
            LeaseLost, Unavailable.
        """
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._store(run, checkpoint), self._loop).result()

    async def _store(self, run: Run, checkpoint: bytes) -> None:
        async with run.sending:
            events = run.pending()
            try:
                await self._source.progress(run.id, run.epoch, events, checkpoint)
            except LeaseLost:
                self._lost(run)
                run.sent()
                raise
            except HeadgateError:
                run.put_back(events)
                raise
            except BaseException:
                run.sent()
                raise
            run.sent()
