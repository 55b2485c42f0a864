"""One claim being run: what its job says, and what becomes of it. Shared between the two threads."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from headgate.base.errors import BadArguments, HeadgateError, Unavailable
from headgate.base.model import Claim, NewEvent

PENDING: Final = 1_000
"""Events of one job that may wait to be sent; then `emit` waits, so that a flood of log lines slows its own job."""
PENDING_BYTES: Final = 4 << 20
"""Their size together, likewise; also the most that is sent at once."""
EVENT_BYTES: Final = 64 << 10
"""Of one event's data. What is larger belongs into a result, or elsewhere."""
PATIENCE: Final = 60.0
"""Seconds that `emit` then waits."""


class Run:
    """The job's side (`declare.context.JobSide`) of one claim.

    Args:
        claim: what was claimed.
        wake: tells the keeper, on its loop, that there is something to send.
        store: stores a checkpoint and returns when it is durable.
    """

    def __init__(self, claim: Claim, wake: Callable[[Run], None], store: Callable[[Run, bytes], None]) -> None:
        self.claim = claim
        self.cancel_requested = claim.job.cancel_requested
        self.lost = False
        self.ended = False
        """The function has returned; nothing more is said."""
        self.sent_at = float("-inf")
        self.sending = asyncio.Lock()
        """Held on the keeper's loop while something that the job said is on its way: one report at a time keeps their
        order, also when one has to wait for the engine."""
        self._wake = wake
        self._store = store
        self._events: deque[NewEvent] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
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
        """Append to the job's stream, soon; of progress only the newest is sent.

        Raises:
            BadArguments: the data cannot be carried, or is too large.
            Unavailable: the engine has taken none for long.
        """
        packed = NewEvent(event.kind, _packed(event))
        if event.kind == "progress":
            self._progress = packed
        else:
            if not self._room.wait(PATIENCE):
                raise Unavailable(f"the engine has taken no events of job {self.id} for {PATIENCE:.0f} s")
            with self._lock:
                self._events.append(packed)
                self._bytes += len(packed.data)
                if self._full():
                    self._room.clear()
        self._wake(self)

    def save(self, checkpoint: bytes) -> None:
        self._store(self, checkpoint)

    def cancelled(self) -> bool:
        return self.cancel_requested

    def pending(self) -> list[NewEvent]:
        """Take what waits to be sent, progress last. There is room for more once it is `sent`."""
        with self._lock:
            events, self._bytes = list(self._events), 0
            self._events.clear()
        progress, self._progress = self._progress, None
        return [*events, progress] if progress is not None else events

    def sent(self) -> None:
        """What was taken is gone for good: there is room again, unless as much has come meanwhile."""
        with self._lock:
            if not self._full():
                self._room.set()

    def _full(self) -> bool:
        return len(self._events) >= PENDING or self._bytes >= PENDING_BYTES

    def put_back(self, events: Sequence[NewEvent]) -> None:
        """They could not be sent: they wait again, in front."""
        with self._lock:
            for event in reversed(events):
                if event.kind != "progress":
                    self._events.appendleft(event)
                    self._bytes += len(event.data)
                elif self._progress is None:
                    self._progress = event
            if self._full():
                self._room.clear()
            else:
                self._room.set()

    def has_pending(self) -> bool:
        return bool(self._events) or self._progress is not None

    def unsaid(self) -> bool:
        """On the loop: whether something waits to be sent, or may come back because it could not be."""
        return self.has_pending() or self.sending.locked()


class Work:
    """One call of a function: for one job, or for the jobs of a batch.

    Args:
        runs: of the same function; at least one.
        batched: the function takes a list of jobs at once.
    """

    def __init__(self, runs: Sequence[Run], batched: bool = False) -> None:
        self.runs = tuple(runs)
        self.batched = batched
        self.began: float | None = None
        """On the monotonic clock; None while it is only leased ahead."""
        self.ended: float | None = None
        self.interrupted_at: float | None = None
        self.reason: HeadgateError | None = None
        """What it was interrupted with."""

    @property
    def function(self) -> str:
        return self.runs[0].claim.job.spec.function

    @property
    def timeout(self) -> float | None:
        """Seconds that it may run."""
        given = [limit for run in self.runs if (limit := run.claim.job.spec.timeout) is not None]
        return min(given, default=None)


def _packed(event: NewEvent) -> msgspec.Raw:
    try:
        raw = msgspec.msgpack.encode(event.data)
    except (TypeError, ValueError, OverflowError, RecursionError) as exc:
        raise BadArguments(f"{event.kind} cannot be told: {exc}; give numbers, text, lists or dicts") from None
    if len(raw) > EVENT_BYTES:
        raise BadArguments(
            f"{event.kind} has {len(raw)} bytes and may have {EVENT_BYTES}; store it elsewhere and tell where it is"
        )
    return msgspec.Raw(raw)
