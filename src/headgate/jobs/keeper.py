"""The loop side of a job worker: takes claims, renews leases, sends what jobs say, settles, watches the time.

It never runs user code. The main thread gives it settlements and is given runs; both through queues.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from headgate.base.channels import ChannelNames
from headgate.base.clock import Clock
from headgate.base.errors import HeadgateError, JobCancelled, JobHandedBack, JobTimeout, LeaseLost, Unavailable
from headgate.base.model import CANCELS, Claim, Failure, Outcome, Settlement
from headgate.base.ports import Engine
from headgate.jobs.appetite import Appetite
from headgate.jobs.reports import Reports
from headgate.jobs.run import Run

log = logging.getLogger(__name__)

LOOK: Final = 0.05
"""Seconds between two looks at the running job."""
GRACE: Final = 5.0
"""Seconds that an interrupted job has for ending by itself before its process is killed."""
WAIT: Final = 0.5
"""Seconds before an engine that was away is asked again."""


class Keeper:
    """Keeps the claims of one job worker.

    Args:
        name: the worker's, unique to this run of the process.
        engine: on this keeper's loop.
        queues: to take from.
        functions: that the code of this process knows.
        interrupt: raises an error in the job that runs; False if that is not possible.
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
    ) -> None:
        self.name = name
        self.inbox: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        """Runs for the main thread; None tells it to end."""
        self.current: Run | None = None
        """What the main thread runs; it sets this itself."""
        self.appetite = Appetite()
        self.settled = 0
        self._engine = engine
        self._queues = list(queues)
        self._functions = list(functions)
        self._clock = clock
        self._interrupt = interrupt
        self._kill = kill
        self._held: dict[str, Run] = {}
        self._ended: deque[tuple[Run, Settlement]] = deque()
        self._woken = False
        self._reports = Reports(engine.source, clock, self._send, self._lose)
        self._idle = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._busy = asyncio.Event()
        self._room = asyncio.Event()
        self._draining = False
        self._until = float("inf")
        self._lease = 15.0
        self._tasks: list[asyncio.Task[Any]] = []
        self._sending: set[asyncio.Task[Any]] = set()
        self._taking: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------ for the main thread

    def finished(self, run: Run, settlement: Settlement) -> None:
        """A run has ended. Costs a wake-up of the loop only when none is on its way."""
        self._idle.clear()
        self._ended.append((run, settlement))
        if not self._woken and self._loop is not None:
            self._woken = True
            self._loop.call_soon_threadsafe(self._collect)

    def all_settled(self, timeout: float) -> bool:
        """Wait until the engine has every settlement given so far."""
        return self._idle.wait(timeout)

    # ------------------------------------------------------------------ on the loop

    def start(self) -> None:
        """Begin to take; must be called on the loop."""
        self._loop = asyncio.get_running_loop()
        self._reports.start()
        self._idle.set()
        self._taking = self._loop.create_task(self._take())
        self._tasks = [self._loop.create_task(work) for work in (self._renew(), self._watch(), self._hear_cancels())]
        for task in (self._taking, *self._tasks):
            task.add_done_callback(self._broke)

    def _broke(self, task: asyncio.Task[Any]) -> None:
        """A worker that takes, renews or watches no more is worse than none: the supervisor starts another."""
        if not task.cancelled() and task.exception() is not None:
            log.critical("the job worker cannot go on", exc_info=task.exception())
            self._kill()

    async def drain(self, seconds: float) -> None:
        """Take nothing more, hand back what was not begun, let the running job end.

        Args:
            seconds: until the job is interrupted and handed back as well.
        """
        self._draining = True
        self._until = self._clock.monotonic() + max(0.0, seconds - min(GRACE, seconds / 4) - 0.5)
        if self._taking is not None:
            self._taking.cancel()
            await asyncio.gather(self._taking, return_exceptions=True)
        await self._hand_back()
        self._busy.set()
        if not self._held:
            self.inbox.put(None)

    async def stop(self) -> None:
        """Send what is left, then end."""
        while self._sending or self._ended:
            self._collect()
            if self._sending:
                await asyncio.wait(self._sending, timeout=1.0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def facts(self) -> dict[str, Any]:
        """What `headgate status` shows of the worker."""
        run = self.current
        if run is None or run.began is None:
            return {"job": None, "function": None, "running_for": None, "done": self.settled}
        spec = run.claim.job.spec
        running = self._clock.monotonic() - run.began
        return {"job": run.id, "function": spec.function, "running_for": running, "done": self.settled}

    # ------------------------------------------------------------------ claims

    async def _take(self) -> None:
        while not self._draining:
            most = self.appetite.most
            if len(self._held) > (0 if most == 1 else most // 2):
                self._room.clear()
                await self._room.wait()
                continue
            try:
                claims = await self._engine.source.take(self.name, self._queues, most, self._functions)
            except HeadgateError as exc:
                log.warning("no jobs can be taken: %s", exc)
                await self._clock.sleep(WAIT)
                continue
            for claim in claims:
                self._hold(claim)

    def _hold(self, claim: Claim) -> None:
        run = Run(claim, self._reports.wake, self._reports.save)
        self._lease = claim.lease
        self._held[run.id] = run
        self._busy.set()
        self.inbox.put(run)

    async def _hand_back(self) -> None:
        """Give back what the main thread has not begun."""
        runs = []
        while True:
            try:
                run = self.inbox.get_nowait()
            except queue.Empty:
                break
            if run is not None:
                runs.append(run)
        back = [(run, Settlement(id=run.id, epoch=run.epoch, outcome=Outcome.RELEASED)) for run in runs]
        if back:
            await self._settle(back)

    # ------------------------------------------------------------------ settling

    def _collect(self) -> None:
        self._woken = False
        ended = [self._ended.popleft() for _ in range(len(self._ended))]
        quick = [entry for entry in ended if not entry[0].has_pending()]
        for run, _ in ended:
            if run.began is not None and run.ended is not None:
                self.appetite.ran(run.ended - run.began)
        if quick:
            self._send(self._settle(quick))
        for entry in ended:
            if entry[0].has_pending():
                self._send(self._settle_after_events(entry))
        if len(self._held) - len(ended) <= self.appetite.most // 2:
            self._room.set()

    async def _settle_after_events(self, entry: tuple[Run, Settlement]) -> None:
        while entry[0].has_pending() and not entry[0].lost:
            if not await self._reports.report(entry[0]):
                await self._clock.sleep(WAIT)
        await self._settle([entry])

    async def _settle(self, entries: Sequence[tuple[Run, Settlement]]) -> None:
        settlements = [settlement for _, settlement in entries]
        while True:
            try:
                accepted = await self._engine.source.settle(self.name, settlements)
                break
            except Unavailable as exc:
                # The leases are renewed meanwhile, and a result that exists must not be lost.
                log.warning("%d results cannot be handed over yet: %s", len(settlements), exc)
                await self._clock.sleep(WAIT)
        for (run, settlement), good in zip(entries, accepted, strict=True):
            self._held.pop(run.id, None)
            if settlement.outcome is not Outcome.RELEASED:
                self.settled += 1
            if not good:
                log.warning("the result of job %s was refused: its lease had passed to another worker", run.id)
        self._settled()

    def _settled(self) -> None:
        self._room.set()
        if not self._held:
            self._busy.clear()
            if self._draining:
                self.inbox.put(None)

    def _send(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._sending.add(task)
        task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[Any]) -> None:
        self._sending.discard(task)
        if not self._sending and not self._ended:
            self._idle.set()
        if not task.cancelled() and task.exception() is not None:
            log.error("a job's end could not be handed over", exc_info=task.exception())

    # ------------------------------------------------------------------ time

    async def _renew(self) -> None:
        while True:
            await self._busy.wait()
            await self._clock.sleep(self._lease / 3)
            await self._renew_once()

    async def _renew_once(self) -> None:
        held = {run.id: run.epoch for run in self._held.values() if not run.lost}
        if not held:
            return
        try:
            verdicts = await self._engine.source.renew(self.name, held)
        except HeadgateError as exc:
            log.warning("leases cannot be renewed: %s", exc)
            return
        for job, verdict in verdicts.items():
            run = self._held.get(job)
            if run is None or run.epoch != held[job]:
                continue
            if verdict == "lost":
                self._lose(run)
            else:
                self._cancel(run)

    async def _hear_cancels(self) -> None:
        names = ChannelNames()
        names.add(CANCELS)
        async for _, job in self._engine.channels.subscribe(names):
            if job.decode(errors="replace") in self._held:
                await self._renew_once()

    async def _watch(self) -> None:
        while True:
            await self._busy.wait()
            await self._clock.sleep(LOOK)
            run = self.current
            if run is None or run.began is None:
                continue
            now = self._clock.monotonic()
            self._reports.look(run)
            if now - run.began > LOOK and len(self._held) > 1:
                await self._hand_back()
            self._look(run, now)

    def _look(self, run: Run, now: float) -> None:
        timeout = run.claim.job.spec.timeout
        if run.interrupted_at is not None and run.reason is not None:
            self._interrupt(run.reason)
            if now - run.interrupted_at > GRACE:
                self._send(self._end_process(run))
                run.interrupted_at = now
        elif timeout is not None and run.began is not None and now - run.began > timeout:
            self._break(run, JobTimeout(f"the job has run for more than its timeout of {timeout:g} s"))
        elif now > self._until:
            self._break(run, JobHandedBack("the job worker has to stop; the job goes back to its queue"))

    def _cancel(self, run: Run) -> None:
        run.cancel_requested = True
        self._break(run, JobCancelled("the job was asked to end"))

    def _lose(self, run: Run) -> None:
        run.lost = True
        self._break(run, LeaseLost("the lease of this job has passed to another worker; its result would be refused"))

    def _break(self, run: Run, error: HeadgateError) -> None:
        if self.current is run and run.interrupted_at is None:
            run.interrupted_at = self._clock.monotonic()
            run.reason = error
            self._interrupt(error)

    async def _end_process(self, run: Run) -> None:
        """The job has not let itself be ended: say so to the engine, then end the process that it has made its own."""
        reason = run.reason or JobTimeout("the job did not end")
        log.error("job %s did not end within %.0f s of %s; its process is killed", run.id, GRACE, type(reason).__name__)
        outcome = Outcome.FAILED
        if isinstance(reason, JobCancelled):
            outcome = Outcome.CANCELLED
        elif isinstance(reason, JobHandedBack):
            outcome = Outcome.RELEASED
        failure = Failure(type(reason).__name__, f"{reason}; it did not end within {GRACE:.0f} s and was killed")
        end = [(run, Settlement(id=run.id, epoch=run.epoch, outcome=outcome, failure=failure))]
        try:
            await asyncio.wait_for(self._hand_back(), 2.0)
            if not run.lost:
                await asyncio.wait_for(self._settle(end), 2.0)
        except (TimeoutError, HeadgateError):
            log.error("the engine could not be told; the end of the lease will tell it")
        self._kill()
