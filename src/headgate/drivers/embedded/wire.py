"""Every message between a client and the embedded broker, version 1: framed msgpack arrays told apart by their tag.

`n` numbers a request on its connection; the reply carries the same. Requests are pipelined: replies come in the
order in which the broker commits, which is the order of arrival except for `Take`, which waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from headgate.base.model import Batch, Claim, Cron, JobRecord, JobSpec, JobState, NewEvent, Receipt, Settlement
from headgate.base.streams import StreamInfo, StreamSpec, Write, Written

VERSION: Final = 1
FRAME_LIMIT: Final = 64 * 1024 * 1024
"""Greatest message in bytes, either way: a longer one would cut the connection."""
REQUEST_LIMIT: Final = FRAME_LIMIT // 2
"""Greatest request in bytes: what a client could send can also be told back to it."""
PAGE_BYTES: Final = 8 * 1024 * 1024
"""Bytes after which a page of events, a batch of claims or of settlements ends; one item is always in it."""
WINDOW: Final = 256
"""Events that the broker may push on one subscription before the client asks for `More`."""


class Message(msgspec.Struct, frozen=True, array_like=True):
    """The base of all; `n` comes first in each."""

    n: int


# client → broker


class Hello(Message, frozen=True, array_like=True, tag="hello"):
    """The first message of a connection. `worker` names the job worker whose claims end with this connection.

    `held` is what that worker knows to hold: a claim that it was given but never heard of, because the connection
    before this one broke, goes back at once.
    """

    version: int
    client: str
    worker: str | None = None
    held: dict[str, int] = {}


class Put(Message, frozen=True, array_like=True, tag="put"):
    specs: list[JobSpec]


class Take(Message, frozen=True, array_like=True, tag="take"):
    """Waits until there is something to claim."""

    worker: str
    queues: list[str]
    most: int
    functions: list[str] | None = None


class Untake(Message, frozen=True, array_like=True, tag="untake"):
    """The take with the number `take` is no longer wanted; if it still waits, it is answered with no claims."""

    take: int


class Renew(Message, frozen=True, array_like=True, tag="renew"):
    worker: str
    held: dict[str, int]


class Report(Message, frozen=True, array_like=True, tag="report"):
    """Events (and a checkpoint) of a held job. `number` grows with each report, so that one can be repeated."""

    job: str
    epoch: int
    number: int
    events: list[NewEvent]
    checkpoint: bytes | None = None


class Settle(Message, frozen=True, array_like=True, tag="settle"):
    worker: str
    settlements: list[Settlement]


class Abandon(Message, frozen=True, array_like=True, tag="abandon"):
    worker: str
    running: list[str] | None = None


class Get(Message, frozen=True, array_like=True, tag="get"):
    job: str


class Find(Message, frozen=True, array_like=True, tag="find"):
    states: list[JobState]
    queue: str | None
    tag: str | None
    function: str | None
    after: str | None
    most: int


class CancelJob(Message, frozen=True, array_like=True, tag="cancel"):
    job: str


class RetryJob(Message, frozen=True, array_like=True, tag="retry"):
    job: str


class Purge(Message, frozen=True, array_like=True, tag="purge"):
    """Forget ended jobs in these states that ended at least `older` seconds ago, at most `most` of them."""

    states: list[JobState]
    queue: str | None
    older: float
    most: int


class Stats(Message, frozen=True, array_like=True, tag="stats"):
    pass


class SetQueue(Message, frozen=True, array_like=True, tag="set_queue"):
    """Change what is known of a queue; keys as in `QueueRules`, absent ones stay."""

    queue: str
    rules: dict[str, Any]


class Queues(Message, frozen=True, array_like=True, tag="queues"):
    pass


class SetCrons(Message, frozen=True, array_like=True, tag="set_crons"):
    """All crons of an app."""

    owner: str
    crons: list[Cron]


class Crons(Message, frozen=True, array_like=True, tag="crons"):
    pass


class Append(Message, frozen=True, array_like=True, tag="append"):
    """`token` is made anew for each call, so that one that is repeated after a reconnect appends once."""

    stream: str
    events: list[NewEvent]
    token: bytes = b""


class WriteTo(Message, frozen=True, array_like=True, tag="write"):
    """`token` as in `Append`, where no producer numbers the write."""

    stream: str
    write: Write
    token: bytes = b""


class Create(Message, frozen=True, array_like=True, tag="create"):
    stream: str
    spec: StreamSpec
    write: Write | None = None


class Look(Message, frozen=True, array_like=True, tag="look"):
    """What is known of a stream; `touch` begins its time to live anew."""

    stream: str
    touch: bool = False


class Delete(Message, frozen=True, array_like=True, tag="delete"):
    stream: str


class Read(Message, frozen=True, array_like=True, tag="read"):
    stream: str
    after: int
    most: int


class Follow(Message, frozen=True, array_like=True, tag="follow"):
    """Answered by `Ok`, then by `Pushed` with the same number as events come, `WINDOW` of them ahead of `More`."""

    stream: str
    after: int


class More(Message, frozen=True, array_like=True, tag="more"):
    """The subscription `n` may be sent `count` events more. No reply."""

    count: int


class Unfollow(Message, frozen=True, array_like=True, tag="unfollow"):
    """End the subscription `n`. No reply."""


class Publish(Message, frozen=True, array_like=True, tag="publish"):
    channel: str
    payload: bytes


class Want(Message, frozen=True, array_like=True, tag="want"):
    """Channels to be heard (or no longer heard) on this connection."""

    channels: list[str]
    wanted: bool


class Status(Message, frozen=True, array_like=True, tag="status"):
    pass


Request = (
    Hello
    | Put
    | Take
    | Untake
    | Renew
    | Report
    | Settle
    | Abandon
    | Get
    | Find
    | CancelJob
    | RetryJob
    | Purge
    | Stats
    | SetQueue
    | Queues
    | SetCrons
    | Crons
    | Append
    | WriteTo
    | Create
    | Look
    | Delete
    | Read
    | Follow
    | More
    | Unfollow
    | Publish
    | Want
    | Status
)


# broker → client


class Welcome(Message, frozen=True, array_like=True, tag="welcome"):
    version: int
    lease: float
    """Seconds that a claim lasts unless renewed."""


class Ok(Message, frozen=True, array_like=True, tag="ok"):
    pass


class Receipts(Message, frozen=True, array_like=True, tag="receipts"):
    receipts: Sequence[Receipt]


class Claims(Message, frozen=True, array_like=True, tag="claims"):
    claims: Sequence[Claim]


class Verdicts(Message, frozen=True, array_like=True, tag="verdicts"):
    verdicts: dict[str, str]


class Flags(Message, frozen=True, array_like=True, tag="flags"):
    flags: Sequence[bool]


class Record(Message, frozen=True, array_like=True, tag="record"):
    record: JobRecord | None


class Records(Message, frozen=True, array_like=True, tag="records"):
    records: Sequence[JobRecord]


class State(Message, frozen=True, array_like=True, tag="state"):
    state: JobState


class Number(Message, frozen=True, array_like=True, tag="number"):
    value: int


class Facts(Message, frozen=True, array_like=True, tag="facts"):
    facts: dict[str, Any]


class CronList(Message, frozen=True, array_like=True, tag="cron_list"):
    """(owner, cron, next moment)."""

    crons: Sequence[tuple[str, Cron, float]]


class Wrote(Message, frozen=True, array_like=True, tag="wrote"):
    written: Written


class Seen(Message, frozen=True, array_like=True, tag="seen"):
    info: StreamInfo | None
    created: bool = False


class Page(Message, frozen=True, array_like=True, tag="page"):
    batch: Batch


class Pushed(Message, frozen=True, array_like=True, tag="pushed"):
    """Events of the subscription `n`."""

    batch: Batch


class Said(Message, frozen=True, array_like=True, tag="said"):
    """A channel message (`n` is 0). `dropped` older ones were given up because this connection was too slow."""

    channel: str
    payload: bytes
    dropped: int = 0


class Failed(Message, frozen=True, array_like=True, tag="failed"):
    error: str
    message: str
    retry_after: float = 0.0


Reply = (
    Welcome
    | Ok
    | Receipts
    | Claims
    | Verdicts
    | Flags
    | Record
    | Records
    | State
    | Number
    | Facts
    | CronList
    | Wrote
    | Seen
    | Page
    | Pushed
    | Said
    | Failed
)
