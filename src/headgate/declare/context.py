"""What a job sees of itself while it runs: progress, log, checkpoint, cancellation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, Protocol, cast

import msgspec

from headgate.base.errors import BadArguments, JobCancelled, NotHosted, RetryAsked
from headgate.base.jobcontext import CURRENT, WORK
from headgate.base.model import JobRecord, NewEvent
from headgate.declare import binding


class JobSide(Protocol):
    """What a job context needs of the process that runs the job."""

    def emit(self, event: NewEvent) -> None:
        """Append to the job's stream, soon: `progress` events are conflated, others are not."""

    def save(self, checkpoint: bytes) -> None:
        """Store the checkpoint; returns after it is durable. Raises `LeaseLost`."""

    def cancelled(self) -> bool:
        """Whether somebody asked the job to end."""


class JobContext:
    """The `job` that a job function gets as its first parameter.

    Args:
        record: the job as claimed.
        side: the process that runs it.
    """

    def __init__(self, record: JobRecord, side: JobSide) -> None:
        self._record = record
        self._side = side
        self._checkpoint = record.checkpoint

    @property
    def id(self) -> str:
        return self._record.id

    @property
    def record(self) -> JobRecord:
        """The job as it was when this try began."""
        return self._record

    @property
    def tries(self) -> int:
        """The number of this try, from 1."""
        return self._record.tries

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked the job to end; a job that can stop early looks now and then."""
        return self._side.cancelled()

    def raise_if_cancelled(self) -> None:
        """End the job here if somebody asked for it.

        Raises:
            JobCancelled: the job's state becomes `cancelled` unless the function catches it.
        """
        if self.cancelled:
            raise JobCancelled(f"job {self.id} was asked to end")

    def retry(self, in_: float = 0.0) -> NoReturn:
        """End this try and begin another one later, without calling it a failure: for what is not ready yet.

        Args:
            in_: seconds until then.

        Raises:
            RetryAsked: always; let it pass.
        """
        raise RetryAsked(max(0.0, in_))

    @property
    def before(self) -> list[Any]:
        """The results of the jobs that this one waited for, in their order; None for one that did not succeed.

        Raises:
            Unavailable: the engine does not answer.
        """
        engine = binding.current().engine
        records = [engine.get(job_id) for job_id in self._record.spec.after]
        return [None if one is None or one.result is None else msgspec.msgpack.decode(one.result) for one in records]

    def progress(self, done: float, total: float | None = None, **extra: Any) -> None:
        """Tell followers how far the job is. Cheap: of many calls in a short time only the newest is sent.

        Args:
            done: units of work that are done.
            total: units in all, if known.
            extra: anything msgpack can carry, sent along.
        """
        data: dict[str, Any] = {"done": done}
        if total is not None:
            data["total"] = total
        data.update(extra)
        self._side.emit(NewEvent("progress", data))

    def log(self, message: str, **fields: Any) -> None:
        """Append a line to the job's stream. Every line is kept: for people, not for loops of thousands."""
        self._side.emit(NewEvent("log", {"message": str(message), **fields}))

    @property
    def checkpoint(self) -> Checkpoint:
        """The state that survives a retry: `job.checkpoint.get()`, `job.checkpoint.set(position)`."""
        return Checkpoint(self)

    def _load(self) -> bytes | None:
        return self._checkpoint

    def _store(self, raw: bytes) -> None:
        self._side.save(raw)
        self._checkpoint = raw


class JobBatch(JobContext):
    """The `job` of a function that takes a list of jobs: `job.members` has each one's own, in the order of the items.

    What is told of the batch as a whole, `progress` and `log`, is told to the followers of every member.
    """

    def __init__(self, members: Sequence[JobContext]) -> None:
        super().__init__(members[0].record, members[0]._side)
        self.members = list(members)

    @property
    def cancelled(self) -> bool:
        """Whether all of them were asked to end."""
        return all(member.cancelled for member in self.members)

    @property
    def before(self) -> list[Any]:
        """Nothing: each member waited for others of its own."""
        return []

    def progress(self, done: float, total: float | None = None, **extra: Any) -> None:
        for member in self.members:
            member.progress(done, total, **extra)

    def log(self, message: str, **fields: Any) -> None:
        for member in self.members:
            member.log(message, **fields)

    @property
    def checkpoint(self) -> Checkpoint:
        """There is none for all.

        Raises:
            NotHosted: always; a member has one.
        """
        raise NotHosted("a batch has no checkpoint of its own; use that of a member: job.members[0].checkpoint")


class Checkpoint:
    """The small state of a job that its next try starts from."""

    def __init__(self, context: JobContext) -> None:
        self._context = context

    def get(self, default: Any = None) -> Any:
        """What the last `set` of this or an earlier try stored, else `default`."""
        raw = self._context._load()
        return default if raw is None else msgspec.msgpack.decode(raw)

    def set(self, value: Any) -> None:
        """Store `value`; returns after it is durable.

        Raises:
            BadArguments: msgpack cannot carry the value.
            LeaseLost: another worker has the job; end at once.
        """
        try:
            raw = msgspec.msgpack.encode(value)
        except (TypeError, ValueError, OverflowError) as exc:
            raise BadArguments(f"the checkpoint cannot be stored ({exc}); keep a number, text, list or dict") from None
        self._context._store(raw)


def current_job() -> JobContext | None:
    """The job that the calling code runs in, or None outside of a job."""
    return cast("JobContext | None", CURRENT.get())


@contextmanager
def running(context: JobContext) -> Iterator[None]:
    """Make `context` the current job of this thread or task."""
    current = CURRENT.set(context)
    work = WORK.set(context.record.spec.function)
    try:
        yield
    finally:
        CURRENT.reset(current)
        WORK.reset(work)


class InPlace:
    """The side of a job function that is called directly: events go nowhere, the checkpoint stays in memory."""

    def emit(self, event: NewEvent) -> None:
        """Nobody follows a direct call."""

    def save(self, checkpoint: bytes) -> None:
        """`JobContext` keeps it for the rest of the call."""

    def cancelled(self) -> bool:
        return False
