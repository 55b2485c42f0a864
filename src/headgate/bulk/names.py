"""The name under which a bulk write keeps its checkpoint when the caller gives none."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from headgate.base.jobcontext import CURRENT, JobContext
from headgate.base.model import new_id
from headgate.bulk.writer import Identity

_REMEMBERED: Final = 256
_lock = threading.Lock()
_calls: OrderedDict[tuple[str, int], int] = OrderedDict()


def identity_for(name: str | None) -> Identity:
    """In a job: the job's id and the number of this bulk call within the try, so that a retry finds its own.

    Outside of a job a given name is kept; without one the checkpoint lives as long as the call, in which
    it tells whether a commit arrived when the connection broke.
    """
    job = CURRENT.get()
    fence = job.record.epoch if job is not None else 0
    if name is not None:
        return Identity(name, fence, keep=True)
    if job is None:
        return Identity(f"call/{new_id()}", 0, keep=False)
    return Identity(f"job/{job.id}/{_ordinal(job)}", fence, keep=True)


def _ordinal(job: JobContext) -> int:
    """The how-manieth unnamed bulk call of this try it is, from 1."""
    key = (job.id, job.record.epoch)
    with _lock:
        _calls[key] = _calls.pop(key, 0) + 1
        while len(_calls) > _REMEMBERED:
            _calls.popitem(last=False)
        return _calls[key]
