"""Between what scripts return and the model's records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from headgate.base.lifecycle import Standing, Step
from headgate.base.model import Event, Failure, JobRecord, JobSpec, JobState

STATES: Final = (
    JobState.SCHEDULED,
    JobState.QUEUED,
    JobState.RUNNING,
    JobState.SUCCEEDED,
    JobState.FAILED,
    JobState.CANCELLED,
)
NUMBER: Final = {state: number for number, state in enumerate(STATES)}

_spec: msgspec.msgpack.Decoder[JobSpec] = msgspec.msgpack.Decoder(JobSpec)
_failure: msgspec.msgpack.Decoder[Failure] = msgspec.msgpack.Decoder(Failure)
_told: msgspec.msgpack.Decoder[list[tuple[int, str, msgspec.Raw, float, bool]]] = msgspec.msgpack.Decoder(
    list[tuple[int, str, msgspec.Raw, float, bool]]
)
pack = msgspec.msgpack.Encoder().encode

Fields = Sequence[bytes | None]


def wanted(spec: JobSpec) -> list[Any]:
    """A job to be put, as the scripts read it: the spec as it is kept, then what they need to know of it.

    Its arguments are kept apart, so that whoever only decides about it does not carry them.
    """
    return [
        pack(msgspec.structs.replace(spec, arguments=b"")),
        spec.id,
        spec.queue,
        spec.function,
        spec.priority,
        spec.key or False,
        spec.limit,
        spec.deadline or False,
        spec.idempotency_key or False,
        spec.after,
        spec.not_before or False,
        spec.tags,
        spec.result_ttl,
        spec.even_if_failed,
        spec.arguments,
        spec.carrier or False,
    ]


def record(fields: Fields) -> JobRecord:
    """A job as `SHOWN` in the scripts lists its fields."""
    spec, state, tries, failures, losses, epoch, worker, at, started, finished = fields[:10]
    progress, checkpoint, result, failure, asked, cpu, rss = fields[10:17]
    return JobRecord(
        spec=msgspec.structs.replace(_spec.decode(spec or b""), arguments=fields[18] or b""),
        state=STATES[int(state or 0)],
        tries=int(tries or 0),
        failures=int(failures or 0),
        losses=int(losses or 0),
        epoch=int(epoch or 0),
        worker=None if worker is None else worker.decode(),
        enqueued_at=float(at or 0.0),
        started_at=None if started is None else float(started),
        finished_at=None if finished is None else float(finished),
        progress=None if progress is None else msgspec.msgpack.decode(progress),
        checkpoint=checkpoint,
        result=result,
        failure=None if failure is None else _failure.decode(failure),
        cancel_requested=asked == b"1",
        cpu=None if cpu is None else float(cpu),
        peak_rss=None if rss is None else int(rss),
    )


def listed(fields: Fields) -> JobRecord:
    """A job in a list; scripts leave out what may be large, except the traceback."""
    whole = record(fields)
    if whole.failure is None:
        return whole
    return msgspec.structs.replace(whole, failure=msgspec.structs.replace(whole.failure, traceback=""))


def seq_of(fields: Fields) -> int:
    """The job's place in the order of acceptance."""
    return int(fields[17] or 0)


class Stood:
    """A job as a decision found it; the decision holds only while it stands so."""

    def __init__(self, job_id: str, fields: Fields) -> None:
        state, epoch, asked, failures, losses, worker, spec = fields
        self.id = job_id
        self.state = STATES[int(state or 0)]
        self.epoch = int(epoch or 0)
        self.asked = asked == b"1"
        self.worker = (worker or b"").decode()
        self.spec = _spec.decode(spec or b"")
        self.standing = Standing(
            self.state, int(failures or 0), int(losses or 0), self.spec.retries, self.spec.backoff, self.asked
        )

    def commit(self, step: Step, **more: Any) -> list[Any]:
        """The request to carry out a step, as `commit` in the scripts takes it; `more` goes into the step."""
        said: dict[str, Any] = {
            "st": NUMBER[step.state],
            "events": [(event.kind, pack(event.data), event.terminal) for event in step.events],
            "fails": step.failures,
            "losses": step.losses,
            "uncounted": step.uncounted,
            "failure": None if step.failure is None else pack(step.failure),
            "delay": step.delay,
            **more,
        }
        present = {key: value for key, value in said.items() if value is not None}
        return [self.id, NUMBER[self.state], self.epoch, int(self.asked), present]


def entries(found: Sequence[tuple[bytes, Sequence[bytes]]], alive: int = 0) -> list[Event]:
    """Events as XRANGE gives them; those up to `alive` are no end of their stream any more."""
    events = []
    for name, pairs in found:
        offset = int(name.partition(b"-")[0])
        kind, data, at = pairs[1].decode(), msgspec.Raw(pairs[3]), float(pairs[5])
        events.append(Event(offset, kind, data, at, len(pairs) > 6 and offset > alive))
    return events


def told(payload: bytes) -> list[Event]:
    """Events as they are published."""
    return [Event(offset, kind, data, at, terminal) for offset, kind, data, at, terminal in _told.decode(payload)]


def plain(events: Sequence[Event]) -> list[Event]:
    """The same with their data decoded, as readers want it."""
    return [msgspec.structs.replace(event, data=msgspec.msgpack.decode(event.data)) for event in events]
