"""What long work needs to know of the job it runs in, if it runs in one: a port of four members.

Whoever runs a job sets `CURRENT` around it (a context variable: threads and tasks that copy the context
see it too). Parts that may run inside or outside of a job, such as `headgate.bulk`, only read it.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Final, Protocol


class JobContext(Protocol):
    """The running try of a job."""

    @property
    def id(self) -> str: ...

    @property
    def epoch(self) -> int:
        """The fence: a later claim of the same job has a higher one."""

    def progress(self, done: float, total: float | None = None, /, **fields: Any) -> None:
        """Tell how far the job is; conflated, so calling it often is cheap."""

    def check(self) -> None:
        """Return if the job may go on.

        Raises:
            JobCancelled: its cancellation was asked for.
            JobTimeout: it has run past its timeout.
            LeaseLost: another job worker has it now.
        """


CURRENT: Final[ContextVar[JobContext | None]] = ContextVar("headgate_job", default=None)
"""The job that this code runs in, or None."""

WORK: Final[ContextVar[str | None]] = ContextVar("headgate_work", default=None)
"""The name of the handler or job function being run (`GET /orders/<id>`, `shop:reprice`), for tags and tallies."""
