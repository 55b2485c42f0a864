"""The loop side of a job worker: what it takes, holds and hands back. It never runs user code.

The main thread is given work through a queue, and gives back how it ended. Each part decides for itself:
`Intake` takes, `Leases` renews, `Outbox` hands over, `Oversight` watches the time. None of them waits for another.
"""

from __future__ import annotations

import asyncio
import logging
import queue
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from headgate.base.clock import Clock
from headgate.base.errors import HeadgateError, JobCancelled, JobHandedBack
from headgate.base.model import Claim, Failure, Outcome, Settlement
from headgate.base.ports import Engine
from headgate.declare.job import Batching
from headgate.jobs.appetite import Appetite
from headgate.jobs.intake import Intake
from headgate.jobs.leases import Leases
from headgate.jobs.outbox import End, Outbox
from headgate.jobs.oversight import GRACE, Kill, Oversight
from headgate.jobs.reports import Reports
from headgate.jobs.run import Run, Work

log = logging.getLogger(__name__)

LOOK: Final = 0.05
"""Seconds between two looks at the running work."""
LAST_WORDS: Final = 3.0
"""Seconds for telling the engine why the process is killed."""


_KILLED: Final[Mapping[type[HeadgateError], Outcome]] = {
    JobCancelled: Outcome.CANCELLED,
    JobHandedBack: Outcome.RELEASED,
}


class Keeper:
    """Keeps the claims of one job worker.

    Args:
        name: the worker's, unique to this run of the process.
        engine: on this keeper's loop.
        queues: to take from.
        functions: that the code of this process knows.
        batching: of those functions that take lists.
        interrupt: raises an error in the work that runs; False if that is not possible.
        kill: ends this process at once.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        queues: Sequence[str],
        functions: Sequence[str],
        *,
        clock: Clock,
        interrupt: Callable[[HeadgateError], bool],
        kill: Callable[[], None],
        batching: Mapping[str, Batching] | None = None,
    ) -> None:
        self.name = name
        self.inbox: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        """Work for the main thread; None tells it to end."""
        self.current: Work | None = None
        """What the main thread runs; it sets this itself, before it looks whether the work is still wanted."""
        self.settled = 0
        self._clock = clock
        self._interrupt = interrupt
        self._kill = kill
        self._appetite = Appetite()
        self._leases = Leases(name, engine, clock, self._look)
        self._reports = Reports(engine.source, clock, self._send, self._lose)
        self._outbox = Outbox(name, engine.source, clock, self._reports.report, self._closed)
        self._oversight = Oversight()
        self._intake = Intake(
            name,
            engine.source,
            clock,
            queues,
            functions,
            batching or {},
            self._appetite,
            lambda: len(self._leases.held),
            self._give,
        )
        self._ended: deque[tuple[Work, Sequence[Settlement]]] = deque()
        self._woken = False
        self._ending = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self._sending: set[asyncio.Task[Any]] = set()

    # ------------------------------------------------------------------ for the main thread

    def finished(self, work: Work, settlements: Sequence[Settlement]) -> None:
        """Work has ended, with a settlement for each run. Wakes the loop only when no wake-up is on its way."""
        self._ended.append((work, settlements))
        if not self._woken and self._loop is not None:
            self._woken = True
            self._loop.call_soon_threadsafe(self._collect)

    # ------------------------------------------------------------------ on the loop

    def start(self) -> None:
        """Begin to take; must be called on the loop."""
        self._loop = asyncio.get_running_loop()
        self._reports.start()
        parts = (self._intake.work(), self._outbox.work(), self._leases.keep(), self._leases.hear(), self._watch())
        self._tasks = [self._loop.create_task(part) for part in parts]
        for task in self._tasks:
            task.add_done_callback(self._broke)

    async def drain(self, seconds: float) -> None:
        """Take nothing more, hand back what was not begun, let the running work end.

        Args:
            seconds: until that is interrupted and handed back as well.
        """
        self._oversight.until = self._clock.monotonic() + max(0.0, seconds - min(GRACE, seconds / 4) - 0.5)
        await self._take_no_more()
        self._hand_back()
        self.inbox.put(None)

    async def stop(self) -> None:
        """The main thread runs nothing any more: hand back the rest, hand over every end, then end."""
        await self._take_no_more()
        self._hand_back()
        self._collect()
        await self._outbox.empty()
        for task in (*self._tasks, *self._sending):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._sending, return_exceptions=True)

    def facts(self) -> dict[str, Any]:
        """What `headgate status` shows of the worker."""
        work = self.current
        if work is None or work.began is None:
            return {"job": None, "function": None, "running_for": None, "done": self.settled}
        running = self._clock.monotonic() - work.began
        return {"job": work.runs[0].id, "function": work.function, "running_for": running, "done": self.settled}

    def _broke(self, task: asyncio.Task[Any]) -> None:
        """A worker that takes, renews, watches or hands over no more is worse than none: another is started."""
        if not task.cancelled() and task.exception() is not None:
            log.critical("the job worker cannot go on", exc_info=task.exception())
            self._kill()

    # ------------------------------------------------------------------ claims

    def _give(self, claims: Sequence[Claim], batched: bool) -> None:
        runs = [Run(claim, self._reports.wake, self._reports.save) for claim in claims]
        for run in runs:
            self._leases.hold(run)
        self.inbox.put(Work(runs, batched))

    def _hand_back(self) -> None:
        """Give back what the main thread has not begun: only one of the two can take it out of the queue."""
        last = False
        while True:
            try:
                work = self.inbox.get_nowait()
            except queue.Empty:
                break
            if work is None:
                last = True
            else:
                self._outbox.put(_released(run) for run in work.runs)
        if last:
            self.inbox.put(None)

    async def _take_no_more(self) -> None:
        for taking in self._tasks[:1]:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)

    def _collect(self) -> None:
        self._woken = False
        while self._ended:
            work, settlements = self._ended.popleft()
            if work.began is not None and work.ended is not None:
                self._appetite.ran((work.ended - work.began) / len(work.runs))
            self._outbox.put(End(run, said) for run, said in zip(work.runs, settlements, strict=True))

    def _closed(self, end: End, accepted: bool | None) -> None:
        self._leases.drop(end.run)
        if end.said.outcome is not Outcome.RELEASED:
            self.settled += 1
        if accepted is False:
            log.warning("the end of job %s was refused: its lease had passed to another worker", end.run.id)
        self._intake.look()

    # ------------------------------------------------------------------ time

    async def _watch(self) -> None:
        while True:
            await self._leases.some()
            await self._clock.sleep(LOOK)
            self._look()

    def _look(self) -> None:
        work = self.current
        if work is None or work.began is None or work.ended is not None:
            return
        now = self._clock.monotonic()
        for run in work.runs:
            self._reports.look(run)
        if now - work.began > LOOK:
            # Known to be slow while it still runs: nothing more is leased ahead that would come back at once.
            self._appetite.ran(now - work.began)
            self._hand_back()
        order = self._oversight.look(work, now)
        if isinstance(order, Kill):
            self._end_process(work, order.error)
        elif order is not None:
            self._interrupt(order.error)

    def _lose(self, run: Run) -> None:
        run.lost = True
        self._look()

    def _end_process(self, work: Work, reason: HeadgateError) -> None:
        """Say why to the engine, as far as it hears, then end the process that the work has made its own."""
        if self._ending:
            return
        self._ending = True
        kind = type(reason).__name__
        log.error("job %s did not end within %.0f s of %s; its process is killed", work.runs[0].id, GRACE, kind)
        failure = Failure(kind, f"{reason}; it did not end within {GRACE:.0f} s and was killed")
        outcome = _KILLED.get(type(reason), Outcome.FAILED)
        self._hand_back()
        self._outbox.put(
            End(run, Settlement(id=run.id, epoch=run.epoch, outcome=outcome, failure=failure))
            for run in work.runs
            if not run.lost
        )
        self._send(self._last_words())

    async def _last_words(self) -> None:
        try:
            await asyncio.wait_for(self._outbox.empty(), LAST_WORDS)
        except TimeoutError:
            log.error("the engine could not be told; the end of the lease will tell it")
        self._kill()

    def _send(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._sending.add(task)
        task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[Any]) -> None:
        self._sending.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("what a job said could not be sent", exc_info=task.exception())


def _released(run: Run) -> End:
    return End(run, Settlement(id=run.id, epoch=run.epoch, outcome=Outcome.RELEASED))
