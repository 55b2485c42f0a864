"""A job worker: one job at a time in the main thread."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headgate.base.clock import SystemClock
from headgate.base.exits import JOB_KILLED
from headgate.base.marks import Mark
from headgate.base.model import JobRecord
from headgate.base.ports import Engine
from headgate.jobs.execute import Executor, Function
from headgate.jobs.interrupt import Interrupts
from headgate.jobs.keeper import Keeper
from headgate.jobs.logs import StreamHandler
from headgate.jobs.middleware import Layer
from headgate.jobs.run import Run, Work
from headgate.jobs.usage import rss

log = logging.getLogger(__name__)


class Recycle:
    """When a worker has done enough and makes place for a fresh process.

    Args:
        jobs: after so many; 0 for never.
        memory: when it holds more bytes than that after a job; 0 for never.
    """

    def __init__(self, jobs: int = 0, memory: int = 0) -> None:
        self._jobs = jobs
        self._memory = memory
        self._done = 0

    def due(self, jobs: int = 1) -> str | None:
        """Called after so many jobs: the reason to end, if there is one."""
        before, self._done = self._done, self._done + jobs
        if self._jobs and self._done >= self._jobs:
            return f"it has run {self._done} jobs"
        if self._memory and (before == 0 or before // 16 != self._done // 16) and (now := rss()) > self._memory:
            return f"it holds {now} bytes"
        return None


class JobWorker:
    """Runs jobs until it is told to stop. Make it and call `run` in the main thread.

    Args:
        name: unique to this run of the process.
        engine: open, living on `loop`.
        loop: running in another thread.
        functions: declared job functions by name.
        context: makes the context that a job function is given.
        layers: what is laid around every job, the outermost first.
        mark: where it is noted what runs, for whoever sees this process die.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        loop: asyncio.AbstractEventLoop,
        functions: Mapping[str, Function],
        context: Callable[[JobRecord, Run], Any],
        *,
        queues: Sequence[str] = ("*",),
        result_bytes: int = 1 << 20,
        recycle: Recycle | None = None,
        layers: Sequence[Layer] = (),
        mark: Mark | None = None,
    ) -> None:
        self._loop = loop
        self._interrupts = Interrupts()
        self._execute = Executor(functions, context, self._interrupts, result_bytes, layers)
        self._recycle = recycle or Recycle()
        self._mark = mark
        self._draining = threading.Event()
        self.keeper = Keeper(
            name,
            engine,
            queues,
            sorted(functions),
            clock=SystemClock(),
            interrupt=self._interrupts.send,
            kill=_kill,
            batching={name: one.batching for name, one in functions.items() if one.batching is not None},
        )

    def run(self, ready: Callable[[], None]) -> None:
        """Take and run jobs; returns after `stop`, when all that was begun has been settled.

        Args:
            ready: called before the first job is taken.
        """
        self._interrupts.install()
        logging.getLogger().addHandler(handler := StreamHandler())
        ready()
        self._on_loop(self._start())
        try:
            while (work := self.keeper.inbox.get()) is not None:
                self._one(work)
                if (reason := self._recycle.due(len(work.runs))) is not None:
                    # What is leased ahead goes back from here on: nothing of it is begun.
                    log.info("this job worker makes place for a fresh one: %s", reason)
                    break
        finally:
            logging.getLogger().removeHandler(handler)
            self._on_loop(self.keeper.stop())
            if self._mark is not None:
                self._mark.close()

    def stop(self, seconds: float) -> None:
        """From any thread: take nothing more; after `seconds` the job that runs is interrupted and handed back."""
        if not self._draining.is_set():
            self._draining.set()
            asyncio.run_coroutine_threadsafe(self.keeper.drain(seconds), self._loop)

    def _one(self, work: Work) -> None:
        self.keeper.current = work
        if self._mark is not None:
            self._mark.running([run.id for run in work.runs])
        settlements = self._execute(work)
        if self._mark is not None:
            self._mark.idle()
        self.keeper.current = None
        self.keeper.finished(work, settlements)

    async def _start(self) -> None:
        self.keeper.start()

    def _on_loop(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _kill() -> None:
    # No finalizers, no atexit: the job's code holds this process and would run again in them.
    os._exit(JOB_KILLED)
