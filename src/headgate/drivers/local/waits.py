"""Jobs that wait for other jobs: chains, and the job that completes a group."""

from __future__ import annotations

from collections.abc import Mapping

from headgate.base.errors import UnknownJob
from headgate.base.lifecycle import Step
from headgate.base.model import Failure, JobSpec, JobState, NewEvent, job_stream
from headgate.drivers.local.rows import SELECT, Row, carry_out, write_events
from headgate.drivers.local.schema import FAILED, RUNNING, SCHEDULED, SUCCEEDED
from headgate.drivers.local.store import Store, pack


def check(store: Store, fresh: Mapping[str, JobSpec]) -> None:
    """Whether all that is waited for is there, or comes in the same put.

    Raises:
        UnknownJob: it is not.
    """
    for spec in fresh.values():
        for needed in spec.after:
            if needed not in fresh and _state(store, needed) is None:
                raise UnknownJob(
                    f"job {spec.id} is to wait for {needed}, which is not there: put it before, or in the same put"
                )


def begin(store: Store, seq: int, spec: JobSpec) -> None:
    """The job has been stored; note what it waits for. What has ended already is told like what ends now."""
    for needed in set(spec.after):
        store.db.execute("INSERT INTO waits VALUES (?, ?)", (needed, seq))
        store.changes.waits += 1
        state = _state(store, needed)
        if state is not None and state > RUNNING:
            store.changes.ended.append((needed, state))


def waits(store: Store, seq: int) -> bool:
    """Whether a job waits for another that has not ended."""
    return store.db.execute("SELECT 1 FROM waits WHERE seq = ? LIMIT 1", (seq,)).fetchone() is not None


def tell(store: Store) -> None:
    """Tell those who wait of every job that has ended in this transaction, and of what ends by that."""
    while store.changes.ended:
        needed, state = store.changes.ended.pop()
        query = SELECT + "WHERE j.seq IN (SELECT seq FROM waits WHERE needed = ?)"
        for row in [Row._make(row) for row in store.db.execute(query, (needed,))]:
            _one_is_over(store, row, needed, state)


def _one_is_over(store: Store, row: Row, needed: str, state: int) -> None:
    store.db.execute("DELETE FROM waits WHERE needed = ? AND seq = ?", (needed, row.seq))
    store.changes.waits -= 1
    if row.state != SCHEDULED:
        return
    spec = row.decoded()
    if state != SUCCEEDED and not spec.even_if_failed:
        _cancel(store, row, spec, needed, state)
        return
    (left,) = store.db.execute("SELECT count(*) FROM waits WHERE seq = ?", (row.seq,)).fetchone()
    if len(spec.after) > 1:
        row = _tell_progress(store, row, len(set(spec.after)), left)
    if left == 0:
        delay = None if spec.not_before is None else spec.not_before - store.now
        later = delay is not None and delay > 0
        carry_out(
            store, row, spec, Step(JobState.SCHEDULED if later else JobState.QUEUED, (), delay if later else None)
        )


def _tell_progress(store: Store, row: Row, total: int, left: int) -> Row:
    """The stream of the job that completes a group tells how far the group is."""
    progress = {"done": total - left, "total": total}
    last = write_events(store, row.seq, job_stream(row.id), row.last, (NewEvent("progress", progress),))
    store.db.execute("UPDATE jobs SET last = ?, progress = ? WHERE seq = ?", (last, pack(progress), row.seq))
    return row._replace(last=last)


def _cancel(store: Store, row: Row, spec: JobSpec, needed: str, state: int) -> None:
    (over,) = store.db.execute("SELECT count(*) FROM waits WHERE seq = ?", (row.seq,)).fetchone()
    store.db.execute("DELETE FROM waits WHERE seq = ?", (row.seq,))
    store.changes.waits -= over
    became = "failed" if state == FAILED else "was cancelled"
    message = f"it was to run after job {needed}, which {became}; it will not run"
    event = NewEvent("cancelled", {"type": "NotReached", "message": message}, terminal=True)
    carry_out(store, row, spec, Step(JobState.CANCELLED, (event,), failure=Failure("NotReached", message)))


def _state(store: Store, job_id: str) -> int | None:
    row = store.db.execute("SELECT state FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return None if row is None else int(row[0])
