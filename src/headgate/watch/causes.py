"""Why a line did not turn: a pure decision from what was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from headgate.watch import model
from headgate.watch.model import Sample, Stall
from headgate.watch.stacks import debugging, importing

_MOST: Final = 0.5
_LOCKS: Final = ("_thread.lock.", "_thread.RLock.", "Lock.acquire", "RLock.acquire", "threading.Condition.wait")
_FEW: Final = 3
_SWITCHES: Final = 0.03
"""Of the wakes that a gap has room for. A process that is stopped wakes once or twice, however long that lasts; one
that asks for the lock on a machine without CPU wakes ten times less often than it wants to."""
_AT_ALL: Final = 0.04
"""Share of CPU that a process uses in which nobody computes, but threads ask for the interpreter lock."""


def cause(stall: Stall) -> str:
    """One of `CAUSES`, or `STOPPED` or `DEBUGGER` for what is no incident."""
    length = max(1, stall.length)
    if stall.debugged or any(debugging(sample.stack) for sample in stall.samples):
        return model.DEBUGGER
    if stall.stopped:
        return model.STOPPED
    if stall.queued >= _MOST * length and length - stall.queued <= stall.limit:
        return model.STARVED  # with a CPU it would have been no stall
    if stall.gc + stall.queued >= 0.6 * length and stall.gc >= 0.25 * length:
        return model.GC
    if stall.samples and _share(importing(sample.stack) for sample in stall.samples) > _MOST:
        return model.IMPORT
    if many(stall.samples) and stall.gc < 0.25 * length:
        return model.OVERLOAD
    if foreign(stall):
        return model.GIL
    return _of_one(stall, length)


def _of_one(stall: Stall, length: int) -> str:
    """Of one thing that the line's own thread did."""
    least = _AT_ALL * length if stall.roughly else max(0.02 * length, 0.5 * (length - stall.queued))
    if stall.cpu >= least:  # of the time in which it could run
        return model.COMPUTING
    own = [sample for sample in stall.samples if not sample.foreign]
    if own:
        if _share(_locks(sample) for sample in own) > _MOST:
            return model.LOCK
        return model.BLOCKING
    return model.GIL if stall.held >= _MOST * length else model.UNKNOWN


def foreign(stall: Stall) -> bool:
    """Whether another thread held the interpreter lock for most of it."""
    seen = [sample for sample in stall.samples if sample.outside]
    if seen:
        return stall.held >= 0.3 * stall.length and _share(sample.foreign for sample in seen) > _MOST
    return any(sample.foreign for sample in stall.samples) and stall.held >= _MOST * stall.length


def many(samples: list[Sample]) -> bool:
    """Whether a turn ran many callbacks, none of which took most of it."""
    roots = Counter(sample.root for sample in samples if sample.root and not sample.foreign)
    total = sum(roots.values())
    return len(roots) >= 3 and max(roots.values()) <= 0.5 * total


def stood_still(gap: int, switches: int, interval: int) -> bool:
    """Whether in a gap of its turns the watchdog only slept, and did not ask for the interpreter lock.

    Args:
        gap: how long it did not turn, ns.
        switches: how often its thread went to sleep in it.
        interval: the interpreter's switch interval, ns: who asks for the lock wakes as often, if there is CPU for it.
    """
    return switches <= max(_FEW, _SWITCHES * gap / max(interval, 1))


def _locks(sample: Sample) -> bool:
    if sample.sleeping not in ("", "futex"):
        return False
    inner = [f"{frame.file} {frame.function}" for frame in sample.stack[:3]]
    waits = any("threading.py" in text and text.split(" ")[-1].endswith((".wait", ".acquire")) for text in inner)
    return waits or any(word in sample.call for word in _LOCKS)


def _share(flags: Iterable[bool]) -> float:
    listed = list(flags)
    return sum(listed) / len(listed) if listed else 0.0
