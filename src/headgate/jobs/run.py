"""One claim being run: what its job says, and what becomes of it. Shared between the two threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from headgate.base.errors import HeadgateError, Unavailable
from headgate.base.model import Claim, NewEvent

PENDING: Final = 1_000
"""Events of one job that may wait to be sent; then `emit` waits, so that a flood of log lines slows its own job."""
PATIENCE: Final = 60.0
"""Seconds that it then waits."""


class Run:
    """The job's side (`declare.context.JobSide`) of one claim.

    Args:
        claim: what was claimed.
        wake: tells the keeper, on its loop, that there is something to send.
        store: stores a checkpoint and returns when it is durable.
    """

    def __init__(self, claim: Claim, wake: Callable[[Run], None], store: Callable[[Run, bytes], None]) -> None:
        self.claim = claim
        self.began: float | None = None
        """On the monotonic clock; None while it is only leased ahead."""
        self.cancel_requested = claim.job.cancel_requested
        self.lost = False
        self.interrupted_at: float | None = None
        self.ended: float | None = None
        self.reason: HeadgateError | None = None
        """What it was interrupted with."""
        self.sent_at = float("-inf")
        self._wake = wake
        self._store = store
        self._events: deque[NewEvent] = deque()
        self._progress: NewEvent | None = None
        self._room = threading.Event()
        self._room.set()

    @property
    def id(self) -> str:
        return self.claim.job.id

    @property
    def epoch(self) -> int:
        return self.claim.job.epoch

    def emit(self, event: NewEvent) -> None:
        """Append to the job's stream, soon; of progress only the newest is sent."""
        if event.kind == "progress":
            self._progress = event
        else:
            if not self._room.wait(PATIENCE):
                raise Unavailable(f"the engine has taken no events of job {self.id} for {PATIENCE:.0f} s")
            self._events.append(event)
            if len(self._events) >= PENDING:
                self._room.clear()
        self._wake(self)

    def save(self, checkpoint: bytes) -> None:
        self._store(self, checkpoint)

    def cancelled(self) -> bool:
        return self.cancel_requested

    def pending(self) -> list[NewEvent]:
        """Take what waits to be sent, progress last."""
        events = [self._events.popleft() for _ in range(len(self._events))]
        self._room.set()
        progress, self._progress = self._progress, None
        return [*events, progress] if progress is not None else events

    def put_back(self, events: list[NewEvent]) -> None:
        """They could not be sent: they wait again, in front."""
        for event in reversed(events):
            if event.kind != "progress":
                self._events.appendleft(event)
            elif self._progress is None:
                self._progress = event

    def has_pending(self) -> bool:
        return bool(self._events) or self._progress is not None
