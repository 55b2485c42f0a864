"""The ports: what one part needs of another, and nothing more. To be read in five minutes.

Engines (embedded broker, memory, Redis …) provide `JobSink`, `JobSource`, `Jobs`, `Streams` and `Channels`,
bundled as an `Engine`. All are asynchronous; `drivers.bridge` offers the same calls to threads.
A call that fails because the engine is away raises `Unavailable`; nothing is retried behind the
caller's back except what is safe to repeat.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol

from headgate.base.model import Batch, Claim, Cron, Event, JobRecord, JobSpec, JobState, NewEvent, Receipt, Settlement
from headgate.base.streams import StreamInfo, StreamSpec, Write, Written


class Service(Protocol):
    """What a role runs."""

    async def run(self, ready: Callable[[], None], stop: StopSignal) -> None:
        """Serve until `stop`, then finish what is under way until its deadline.

        Calls `ready` once, when work can be taken. Raising before that is a boot failure.
        """


class StopSignal(Protocol):
    """An order to stop, given at most once."""

    async def wait(self) -> float:
        """Wait for the order; returns the seconds that remain for finishing."""

    def is_set(self) -> bool: ...


class JobSink(Protocol):
    """All that a producer needs of an engine, and all that RQ and Celery must offer."""

    async def put(self, specs: Sequence[JobSpec]) -> Sequence[Receipt]:
        """Accept jobs, all or none; returns after they are durable. Repeating a put of the same ids is safe.

        Raises:
            QueueFull: a queue would exceed its depth; none was accepted.
            TooLarge: the arguments of one exceed their bound, or all together are more than the engine takes at once;
                none was accepted.
        """


class JobSource(Protocol):
    """What a job worker needs of an engine."""

    async def take(
        self, worker: str, queues: Sequence[str], most: int, functions: Sequence[str] | None = None
    ) -> Sequence[Claim]:
        """Wait for jobs and claim up to `most` of them, at least one. Cancelling the call claims nothing.

        `functions`, when given, limits the claim to jobs that this worker's code knows.
        """

    async def renew(self, worker: str, held: Mapping[str, int]) -> Mapping[str, str]:
        """Extend the leases of `{job id: epoch}`; returns `{job id: "lost" | "cancel"}` for those to be ended."""

    async def progress(
        self, job_id: str, epoch: int, events: Sequence[NewEvent], checkpoint: bytes | None = None
    ) -> None:
        """Append events to a held job's stream; `progress` events update its record, a checkpoint is stored with them.

        The data of events may be `msgspec.Raw`: packed already, where the job said it.

        Raises:
            LeaseLost: the claim is not the newest.
            TooLarge: the checkpoint exceeds its bound; nothing was stored.
        """

    async def settle(self, worker: str, settlements: Sequence[Settlement]) -> Sequence[bool]:
        """End claims; False where the fence refused one (another worker has the job).

        Each is on its own: however many there are, they need not be carried out in one commit.

        Raises:
            TooLarge: a result exceeds what the engine can take at all; a worker bounds results before.
        """

    async def abandon(self, worker: str, running: Sequence[str] | None = None) -> int:
        """The worker is dead: its jobs go back to the queue at once. Returns how many.

        Args:
            running: the jobs that it was running, which are charged with the loss; none if it is empty. When that is
                not known (None), the oldest claim is charged, because a worker runs its claims in their order.
        """


class Jobs(Protocol):
    """What views, operators and the job URL need."""

    async def get(self, job_id: str) -> JobRecord | None: ...

    async def find(
        self,
        *,
        states: Sequence[JobState] = (),
        queue: str | None = None,
        tag: str | None = None,
        function: str | None = None,
        after: str | None = None,
        most: int = 100,
    ) -> Sequence[JobRecord]:
        """Newest first; `after` is the last id of the page before.

        A list is for choosing from: its records come without arguments, checkpoint, result and traceback, which
        `get` has.
        """

    async def cancel(self, job_id: str) -> JobState:
        """Cancel a job that waits, or ask a running one to end; returns the state after the call.

        Raises:
            UnknownJob, WrongState.
        """

    async def retry(self, job_id: str) -> JobState:
        """Put a failed or cancelled job back into its queue with its tries counted anew.

        Raises:
            UnknownJob, WrongState.
        """

    async def stats(self) -> Mapping[str, Mapping[str, int]]:
        """Counts of jobs by queue and state."""


class Operations(Protocol):
    """What an operator may do beyond `Jobs`."""

    async def purge(
        self, states: Sequence[JobState], *, queue: str | None = None, older: float = 0.0, most: int = 1_000
    ) -> int:
        """Forget ended jobs that ended at least `older` seconds ago, `most` at a time; returns how many."""

    async def set_queue(self, queue: str, **rules: Any) -> Mapping[str, Any]:
        """Change rules of a queue, returns them all: paused, slots, rate (per second), depth, weight.

        Raises:
            ConfigError: an unknown rule, or a value that does not fit.
        """

    async def queues(self) -> Mapping[str, Mapping[str, Any]]:
        """The rules of every queue that has some."""

    async def set_crons(self, owner: str, crons: Sequence[Cron]) -> None:
        """These are all crons of an app: others that it had before are forgotten, known ones keep their next moment."""

    async def crons(self) -> Sequence[tuple[str, Cron, float]]:
        """Every cron with its owner and its next moment."""


class Streams(Protocol):
    """Append-only, offset-stamped events."""

    async def append(self, stream: str, events: Sequence[NewEvent]) -> int:
        """Append all or none; returns the last offset, durable. Raises `StreamEnded` after a terminal record.

        One call appends once, also where the engine went away before its answer and the driver asked again.
        """

    async def read(self, stream: str, after: int, most: int = 1000) -> Batch:
        """Events after the offset, `most` of them or fewer: also a page of large events has a bound.

        Whether there is more tells `next` with the next read, not the number of events. Raises `UnknownStream`.
        """

    def follow(self, stream: str, after: int) -> AsyncIterator[Event]:
        """Every event after the offset in order, as they come, ending with the terminal one.

        Survives a restart of the engine without a gap or a repetition. A truncated start yields first an
        event of kind `truncated`. Raises `UnknownStream`.
        """

    async def write(self, stream: str, write: Write) -> Written:
        """Append under conditions (`base.streams.judge`).

        Raises:
            UnknownStream: there is none, and the write does not make it.
            StreamError: a job's stream.
        """

    async def create(self, stream: str, spec: StreamSpec, write: Write | None = None) -> tuple[StreamInfo, bool]:
        """Make a stream with its first events; an existing one is left as it is. Returns it and whether it is new.

        Raises:
            UnknownStream: the source of a fork is not there.
            StreamConflict: that source was deleted, or has another content type.
            BadOffset: that source has no such position.
        """

    async def info(self, stream: str, *, touch: bool = False) -> StreamInfo | None:
        """What is known of a stream; `touch` begins its time to live anew."""

    async def delete(self, stream: str) -> None:
        """Forget a stream; one that others began with is kept for them, hidden. Raises `UnknownStream`."""


class Channels(Protocol):
    """Messages to whoever listens now; nothing is kept."""

    async def publish(self, channel: str, payload: bytes) -> None: ...

    def subscribe(self, channels: ChannelSet) -> AsyncIterator[tuple[str, bytes]]:
        """Messages of the channels in the set, which may change while the iterator runs."""


class ChannelSet(Protocol):
    """The channels that a subscriber wants at the moment."""

    def add(self, channel: str) -> None: ...

    def discard(self, channel: str) -> None: ...


class Engine(Protocol):
    """One engine's ports."""

    url: str
    sink: JobSink
    source: JobSource
    jobs: Jobs
    streams: Streams
    channels: Channels
    operations: Operations

    async def open(self) -> None:
        """Connect. Raises `Unavailable` when the engine does not answer within its connect time."""

    async def close(self) -> None: ...

    def status(self) -> Mapping[str, Any]:
        """What `headgate status` shows of the engine."""


class Backend(Protocol):
    """All that the gateway knows of an app: the other side of a connection's life (see `link`)."""

    async def opened(self, connection: Any) -> Any: ...

    async def received(self, connection: Any, message: str | bytes) -> None: ...

    async def closed(self, connection: Any, code: int, reason: str) -> None: ...
