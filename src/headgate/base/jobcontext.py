"""What long work needs to know of the job it runs in, if it runs in one: a port of four members.

Whoever runs a job sets `CURRENT` around it (a context variable: threads and tasks that copy the context
see it too). Parts that may run inside or outside of a job, such as `headgate.bulk`, only read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Protocol

from headgate.base.model import JobRecord


class JobContext(Protocol):
    """The running try of a job; `headgate.declare` provides it."""

    @property
    def id(self) -> str: ...

    @property
    def record(self) -> JobRecord:
        """The job as claimed; its `epoch` is the fence: a later claim of the same job has a higher one."""

    def progress(self, done: float, total: float | None = None, **extra: Any) -> None:
        """Tell how far the job is; conflated, so calling it often is cheap."""

    def raise_if_cancelled(self) -> None:
        """Return if the job may go on.

        Raises:
            JobCancelled: its cancellation was asked for.
        """


CURRENT: Final[ContextVar[JobContext | None]] = ContextVar("headgate_job", default=None)
"""The job that this code runs in, or None."""

WORK: Final[ContextVar[str | None]] = ContextVar("headgate_work", default=None)
"""The name of the handler or job function being run (`GET /orders/<id>`, `shop:reprice`), for tags and tallies."""


@contextmanager
def working(name: str) -> Iterator[None]:
    """Mark what runs within as a run of `name`."""
    token = WORK.set(name)
    try:
        yield
    finally:
        WORK.reset(token)
