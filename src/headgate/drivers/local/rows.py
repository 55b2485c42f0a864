"""Jobs as rows: reading them, and carrying out a `Step` on one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from headgate.base.errors import UnknownJob
from headgate.base.lifecycle import Standing, Step
from headgate.base.model import Event, Failure, JobRecord, JobSpec, JobState, NewEvent, job_stream
from headgate.drivers.local import keys
from headgate.drivers.local.schema import QUEUED, RUNNING, SCHEDULED, STATES
from headgate.drivers.local.store import Store, pack

STATE: Final = tuple(JobState(name) for name in STATES)
NUMBER: Final = {state: number for number, state in enumerate(STATE)}

COLUMNS: Final = (
    "j.seq, j.id, j.queue, j.state, j.priority, j.key, j.tries, j.failures, j.losses, j.epoch, j.worker, j.reported,"
    " j.cancel_requested, j.last, j.enqueued_at, j.started_at, j.finished_at, j.cpu, j.peak_rss, j.progress,"
    " j.checkpoint, j.failure, j.result, s.spec"
)
SELECT: Final = f"SELECT {COLUMNS} FROM jobs j JOIN specs s USING (seq) "
BRIEF: Final = SELECT.replace("j.checkpoint", "NULL").replace("j.result", "NULL")
"""For lists: without what may be large."""

_spec: msgspec.msgpack.Decoder[JobSpec] = msgspec.msgpack.Decoder(JobSpec)
_failure: msgspec.msgpack.Decoder[Failure] = msgspec.msgpack.Decoder(Failure)


class Row(NamedTuple):
    """One job as read by `SELECT`."""

    seq: int
    id: str
    queue: str
    state: int
    priority: int
    key: str | None
    tries: int
    failures: int
    losses: int
    epoch: int
    worker: str | None
    reported: int
    cancel_requested: int
    last: int
    enqueued_at: float
    started_at: float | None
    finished_at: float | None
    cpu: float | None
    peak_rss: int | None
    progress: bytes | None
    checkpoint: bytes | None
    failure: bytes | None
    result: bytes | None
    spec: bytes

    def decoded(self) -> JobSpec:
        return _spec.decode(self.spec)

    def standing(self, spec: JobSpec) -> Standing:
        return Standing(
            STATE[self.state], self.failures, self.losses, spec.retries, spec.backoff, bool(self.cancel_requested)
        )

    def brief(self) -> JobRecord:
        """For lists: without arguments and traceback."""
        whole = self.record()
        failure = whole.failure and msgspec.structs.replace(whole.failure, traceback="")
        spec = msgspec.structs.replace(whole.spec, arguments=b"")
        return msgspec.structs.replace(whole, spec=spec, failure=failure)

    def record(self) -> JobRecord:
        return JobRecord(
            spec=self.decoded(),
            state=STATE[self.state],
            tries=self.tries,
            failures=self.failures,
            losses=self.losses,
            epoch=self.epoch,
            worker=self.worker,
            enqueued_at=self.enqueued_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            progress=None if self.progress is None else msgspec.msgpack.decode(self.progress),
            checkpoint=self.checkpoint,
            result=self.result,
            failure=None if self.failure is None else _failure.decode(self.failure),
            cancel_requested=bool(self.cancel_requested),
            cpu=self.cpu,
            peak_rss=self.peak_rss,
        )


def fetch(store: Store, job_id: str) -> Row | None:
    """The job's row, if there is one."""
    found = store.db.execute(SELECT + "WHERE j.id = ?", (job_id,)).fetchone()
    return None if found is None else Row._make(found)


def known(store: Store, job_id: str) -> Row:
    """The job's row.

    Raises:
        UnknownJob: there is none.
    """
    row = fetch(store, job_id)
    if row is None:
        raise UnknownJob(f"no job has the id {job_id}: it never existed, or its time to live is over")
    return row


def write_events(store: Store, stream: int, name: str, last: int, events: Sequence[NewEvent]) -> int:
    """Append to a stream whose last offset is `last`; returns the new last one. The caller stores it."""
    written = []
    for offset, event in enumerate(events, last + 1):
        data = event.data if isinstance(event.data, msgspec.Raw) else msgspec.Raw(pack(event.data))
        written.append((stream, offset, event.kind, bytes(data), store.now, event.terminal))
        store.changes.events[name].append(Event(offset, event.kind, data, store.now, event.terminal))
    store.db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", written)
    return last + len(written)


_STEP: Final = (
    "UPDATE jobs SET state = ?, held = 0, due = ?, tries = ?, failures = ?, losses = ?, epoch = ?, last = ?,"
    " finished_at = ?, expires = ?, cpu = coalesce(?, cpu), peak_rss = coalesce(?, peak_rss), failure = ?, result = ?,"
    " worker = ?, claimed = NULL WHERE seq = ?"
)


def carry_out(
    store: Store,
    row: Row,
    spec: JobSpec,
    step: Step,
    *,
    result: bytes | None = None,
    cpu: float | None = None,
    peak_rss: int | None = None,
    fence: bool = False,
) -> None:
    """Store what was decided, with its events; `fence` shuts out whoever held the job."""
    state = NUMBER[step.state]
    events = step.events
    if step.state is JobState.SUCCEEDED:
        raw = msgspec.Raw(b"\x81\xa6result" + (result if result is not None else b"\xc0"))
        events = (NewEvent("result", raw, terminal=True),)
    last = write_events(store, row.seq, job_stream(row.id), row.last, events)
    due = None if step.delay is None else store.now + step.delay
    ended = store.now if step.state.terminal else None
    expires = None if ended is None else ended + spec.result_ttl
    failure = None if step.failure is None else pack(step.failure)
    tries = row.tries - 1 if step.uncounted else row.tries
    values: tuple[Any, ...] = (state, due, tries, step.failures, step.losses, row.epoch + fence, last)
    values += (ended, expires, cpu, peak_rss, failure, result, row.worker if ended else None, row.seq)
    store.db.execute(_STEP, values)
    _account(store, row, spec, state, due)


def _account(store: Store, row: Row, spec: JobSpec, state: int, due: float | None) -> None:
    changes = store.changes
    changes.counts[row.queue, row.state] -= 1
    changes.counts[row.queue, state] += 1
    if row.state == RUNNING:
        changes.leases[row.id] = None
    if state > RUNNING and store.waits + changes.waits > 0:
        changes.ended.append((row.id, state))
    if state == QUEUED:
        changes.ready = True
    elif state == SCHEDULED and due is not None:
        changes.falls_due(due)
    if spec.key is not None:
        if state == QUEUED:
            keys.entered(store, row.seq, spec.key, spec.limit)
        keys.freed(store, spec.key)
    if row.state == RUNNING and row.queue in store.rules:
        changes.ready = True
