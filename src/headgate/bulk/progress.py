"""Who watches a bulk write: the job it runs in, or a person at a terminal."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

from headgate.base.jobcontext import CURRENT, JobContext


class Watcher(Protocol):
    """Told of every committed chunk; may end the write between two chunks by raising."""

    def check(self) -> None: ...

    def moved(self, done: int, total: int | None, **more: Any) -> None: ...

    def close(self) -> None: ...


class Nobody:
    """A write in the background of something else."""

    def check(self) -> None:
        """Nobody can ask it to end."""

    def moved(self, done: int, total: int | None, **more: Any) -> None:
        """Nobody looks."""

    def close(self) -> None:
        """There is nothing to close."""


class InJob:
    """Progress to the job's followers, cancellation from the job's owner."""

    def __init__(self, job: JobContext, every: float = 0.2) -> None:
        self._job = job
        self._every = every
        self._last = 0.0
        self._rate = Rate()

    def check(self) -> None:
        self._job.raise_if_cancelled()

    def moved(self, done: int, total: int | None, **more: Any) -> None:
        now = time.monotonic()
        self._rate.add(now, done)
        if now - self._last < self._every and done != total:
            return
        self._last = now
        self._job.progress(done, total, **more, **self._rate.tell(done, total))

    def close(self) -> None:
        """The job's own result follows."""


class AtTerminal:
    """A progress bar on standard error."""

    def __init__(self, title: str) -> None:
        # rich takes 60 ms to import; only a person waits for it
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._rate = Rate()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(title, total=None, speed="")
        self._bar.start()

    def check(self) -> None:
        """A person ends it with Ctrl-C."""

    def moved(self, done: int, total: int | None, **more: Any) -> None:
        self._rate.add(time.monotonic(), done)
        speed = f"{self._rate.tell(done, total)['rows_per_second']:,} rows/s"
        if more.get("paused"):
            speed = f"paused: {more['paused']}"
        self._bar.update(self._task, completed=done, total=total, speed=speed)

    def close(self) -> None:
        self._bar.stop()


class Rate:
    """Rows per second over the last seconds, and what that says of the time left."""

    WINDOW = 10.0

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def add(self, now: float, done: int) -> None:
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[0][0] > self.WINDOW:
            del self._seen[0]

    def tell(self, done: int, total: int | None) -> dict[str, Any]:
        (began, before), (now, after) = self._seen[0], self._seen[-1]
        rate = (after - before) / (now - began) if now > began else 0.0
        told: dict[str, Any] = {"rows_per_second": round(rate)}
        if total is not None and rate > 0:
            told["seconds_left"] = round(max(0, total - done) / rate, 1)
        return told


def watcher_for(progress: bool | None, title: str) -> Watcher:
    """Who watches: the current job, else a terminal, else nobody; `progress=False` silences both."""
    if progress is False:
        job = CURRENT.get()
        return Quiet(job) if job is not None else Nobody()
    job = CURRENT.get()
    if job is not None:
        return InJob(job)
    if progress or sys.stderr.isatty():
        return AtTerminal(title)
    return Nobody()


class Quiet(InJob):
    """In a job that tells its own progress: cancellation still works."""

    def moved(self, done: int, total: int | None, **more: Any) -> None:
        """The job tells what it likes."""
