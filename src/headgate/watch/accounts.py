"""What a thread used of a stretch, from readings of its account that were taken near the stretch. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headgate.watch.machine import Reading

_LOOSE: Final = 0.8
"""Share of a stretch; bounds that are as far from each other tell nothing."""


def used(begin: int, end: int, readings: Sequence[Reading], after: Reading) -> tuple[int, int] | None:
    """CPU time and time in the run queue that fell into a stretch, ns; None when the readings tell nothing of it.

    Nobody reads an account in the moment that a stretch begins. Each reading bounds what it can have been; the middle
    of the bounds is returned.

    Args:
        begin: of the stretch.
        end: of the stretch.
        readings: taken before it or in it.
        after: taken at its end or soon after it.
    """
    cpu = _bounds(begin, end, [(each.at, after.cpu - each.cpu) for each in readings])
    queued = _bounds(begin, end, [(each.at, after.queued - each.queued) for each in readings])
    if cpu[1] - cpu[0] >= _LOOSE * (end - begin):
        return None
    return sum(cpu) // 2, sum(queued) // 2


def _bounds(begin: int, end: int, counts: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """What was counted from before the begin may be of before; what was not counted yet may have been of it."""
    least, most = 0, end - begin
    for at, count in counts:
        least = max(least, count - max(0, begin - at))
        most = min(most, count + max(0, at - begin))
    return min(least, most), most
