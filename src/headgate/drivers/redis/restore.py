"""Taking over what another engine held. What is here already stays as it is, so a copy may be begun again."""

from __future__ import annotations

from typing import Any, Protocol

from headgate.drivers.local.dump import DumpedJob, DumpedStream
from headgate.drivers.redis.records import wanted


class Run(Protocol):
    """Runs an operation of the scripts."""

    async def __call__(self, operation: str, arguments: Any) -> Any: ...


async def job(run: Run, one: DumpedJob) -> bool:
    """Take over a job with its stream; False if it is here already."""
    row = one.row
    fields: dict[str, Any] = {
        "st": row.state,
        "tries": row.tries,
        "fails": row.failures,
        "losses": row.losses,
        "ep": row.epoch,
        "w": row.worker,
        "last": row.last,
        "at": row.enqueued_at,
        "sta": row.started_at,
        "fin": row.finished_at,
        "prog": row.progress,
        "chk": row.checkpoint,
        "res": row.result,
        "err": row.failure,
        "cr": row.cancel_requested or None,
        "cpu": row.cpu,
        "rss": row.peak_rss,
    }
    flat = [part for key, value in fields.items() if value is not None for part in (key, value)]
    events = [part for event in one.events for part in event]
    arguments = [wanted(row.decoded()), flat, one.due or False, one.expires or False, events, one.needs]
    return bool(await run("restore_job", arguments))


async def stream(run: Run, one: DumpedStream) -> bool:
    """Take over a stream of user code; False if it is here already."""
    events = [part for event in one.events for part in event]
    producers = [part for name, epoch, seq in one.producers for part in (name, f"{epoch} {seq}")]
    arguments = [one.name, one.last, one.ended, one.expires or False, one.state, events, producers]
    return bool(await run("restore_stream", arguments))
