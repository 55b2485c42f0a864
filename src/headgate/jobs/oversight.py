"""What is to become of the work that runs, decided purely: its standing and the time in, an order out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from headgate.base.errors import HeadgateError, JobCancelled, JobHandedBack, JobTimeout, LeaseLost
from headgate.jobs.run import Work

GRACE: Final = 5.0
"""Seconds that interrupted work has for ending by itself before its process is killed."""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Raise the error in the work. Given again at each look: a signal can come just before a blocking call."""

    error: HeadgateError


@dataclass(frozen=True, slots=True)
class Kill:
    """The work has not let itself be ended: end its process."""

    error: HeadgateError


Order = Interrupt | Kill


class Oversight:
    """Looks at the running work; `until` is the moment (monotonic) by which it must have ended."""

    def __init__(self) -> None:
        self.until = float("inf")

    def look(self, work: Work, now: float) -> Order | None:
        """The order of this moment, if there is one."""
        if work.began is None or work.ended is not None:
            return None
        if work.reason is None:
            work.reason = self._reason(work, now - work.began, now)
            if work.reason is None:
                return None
        if work.interrupted_at is None:
            work.interrupted_at = now
        over = now - work.interrupted_at > GRACE
        return Kill(work.reason) if over else Interrupt(work.reason)

    def _reason(self, work: Work, ran: float, now: float) -> HeadgateError | None:
        if all(run.lost for run in work.runs):
            return LeaseLost("the lease of this job has passed to another worker; its result would be refused")
        if all(run.lost or run.cancel_requested for run in work.runs):
            return JobCancelled("the job was asked to end")
        if work.timeout is not None and ran > work.timeout:
            return JobTimeout(f"the job has run for more than its timeout of {work.timeout:g} s")
        if now > self.until:
            return JobHandedBack("the job worker has to stop; the job goes back to its queue")
        return None
