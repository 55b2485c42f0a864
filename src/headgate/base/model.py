"""The records that cross process borders: jobs, claims, settlements, events.

All are frozen msgspec structs: they are encoded as msgpack by every engine. Times are seconds since
the epoch (floats), durations are seconds, offsets are integers counted from 1 in each stream.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

START: Final = 0
"""The offset before the first event of a stream: reading after it yields everything."""


CANCELS: Final = "headgate/cancels"
"""The channel that says which running job was asked to end (its id, as bytes). A hint: renewing tells for certain."""


class JobState(StrEnum):
    """design.md §7: scheduled → queued → running → succeeded | failed | cancelled."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class Backoff(msgspec.Struct, frozen=True, array_like=True):
    """The wait before try n+1: `first * factor**(n-1)`, at most `most`, spread by ±`jitter` of itself."""

    first: float = 1.0
    factor: float = 2.0
    most: float = 300.0
    jitter: float = 0.1


class JobSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a producer asks for. The producer makes the id, so that a put can be repeated safely.

    `function` is the name under which the job was declared (`"shop.orders:reprice"`); `arguments` is a
    msgpack array `[args, kwargs]`.
    """

    id: str
    function: str
    arguments: bytes
    queue: str = "default"
    priority: int = 0
    """Higher runs first; within one priority the order of enqueueing holds."""
    retries: int = 0
    """How often it may run again after its first try."""
    backoff: Backoff = Backoff()
    timeout: float | None = None
    not_before: float | None = None
    deadline: float | None = None
    """Never start after this moment; the job then fails with the reason."""
    idempotency_key: str | None = None
    key: str | None = None
    limit: int = 1
    """At most this many jobs with the same `key` run at once."""
    tags: tuple[str, ...] = ()
    result_ttl: float = 86_400.0
    """Seconds that the finished job and its stream are kept."""
    created_at: float = 0.0
    after: tuple[str, ...] = ()
    """It waits until these jobs have ended. If one of them does not succeed, it is cancelled …"""
    even_if_failed: bool = False
    """… unless this is set: then it runs whatever became of them."""
    carrier: str | None = None
    """Whose workers run it: "rq" or "celery"; None for Headgate's own."""


class Missed(StrEnum):
    """What is done about moments of a cron that passed while nobody could act on them."""

    SKIP = "skip"
    ONCE = "once"
    """One run for all of them."""
    ALL = "all"


class Cron(msgspec.Struct, frozen=True, kw_only=True):
    """A job that is put again and again. `job` is a template: each run has an id of its own."""

    name: str
    expression: str
    job: JobSpec
    zone: str = "UTC"
    missed: Missed = Missed.ONCE


class Failure(msgspec.Struct, frozen=True):
    """Why a try failed: the exception's type and text, the traceback as text, and what became of it."""

    type: str
    message: str
    traceback: str = ""


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the engine stores it."""

    spec: JobSpec
    state: JobState
    tries: int = 0
    """Tries begun (claims), the running one included."""
    failures: int = 0
    """Tries that ended in an exception: what `spec.retries` bounds."""
    losses: int = 0
    """Tries that ended with the death of their worker."""
    epoch: int = 0
    """The fence: each claim raises it, and only the claim with the newest may settle."""
    worker: str | None = None
    enqueued_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    progress: Any = None
    """The newest progress: `{"done": n, "total": m, …}`."""
    checkpoint: bytes | None = None
    result: bytes | None = None
    """msgpack of what the function returned."""
    failure: Failure | None = None
    cancel_requested: bool = False
    cpu: float | None = None
    """CPU seconds of the last try."""
    peak_rss: int | None = None
    """Greatest resident memory of the last try's worker, in bytes."""

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def stream(self) -> str:
        return job_stream(self.spec.id)


class Receipt(msgspec.Struct, frozen=True):
    """The engine's word for an accepted job: its id (an older job's, if the idempotency key is known)."""

    id: str
    created: bool = True


class Claim(msgspec.Struct, frozen=True):
    """A lease on one job: the record as claimed, whose `epoch` is the fence."""

    job: JobRecord
    lease: float
    """Seconds that the lease lasts unless renewed."""


class Outcome(StrEnum):
    """What a job worker says of a try when it lets go of it."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Retried after a back-off while tries remain, else the dead-letter state."""
    GIVE_UP = "give_up"
    """Failed, and not to be retried."""
    CANCELLED = "cancelled"
    RELEASED = "released"
    """Not run or handed back (drain, unknown function): queued again, the try not counted."""
    RETRY = "retry"
    """Asked for by the job: queued again after `delay`."""


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """The end of one claim."""

    id: str
    epoch: int
    outcome: Outcome
    result: bytes | None = None
    failure: Failure | None = None
    delay: float | None = None
    cpu: float | None = None
    """CPU seconds used by the try."""
    peak_rss: int | None = None
    """The worker's greatest resident memory at its end, in bytes."""


class Event(msgspec.Struct, frozen=True):
    """One record of a stream."""

    offset: int
    kind: str
    """For jobs: queued, started, progress, log, result, failed, cancelled, retrying; for user streams: any."""
    data: Any
    at: float
    terminal: bool = False


class NewEvent(msgspec.Struct, frozen=True):
    """A record that is to be appended; the engine gives it its offset and time."""

    kind: str
    data: Any
    terminal: bool = False


class Batch(msgspec.Struct, frozen=True):
    """What a read of a stream yields.

    `next` is the offset to read after next time; `ended` says that nothing will come after it;
    `truncated` names the reason when events between the asked offset and the first given are gone.
    """

    events: Sequence[Event]
    next: int
    ended: bool = False
    truncated: str | None = None
    more: bool = False
    """There are events beyond `next` already: the read was bounded."""


def job_stream(job_id: str) -> str:
    """The name of a job's stream."""
    return f"jobs/{job_id}"


def new_id() -> str:
    """A UUIDv7-like id (RFC 9562 §5.7) in 32 hex digits: 48 bits of milliseconds, then random bits."""
    millis = int(time.time() * 1000)
    rest = int.from_bytes(os.urandom(10), "big")
    value = (millis << 80) | rest
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return f"{value:032x}"
