"""Attach: watch a process that runs already and was not started under the watch, by py-spy alone.

Its stacks are read again and again. A thread whose outer frames are a loop's, and whose innermost one is not its poll
for longer than the threshold, has stalled; for how long is known to the distance of two readings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from headgate.watch import pyspy
from headgate.watch.board import running
from headgate.watch.clues import Clues
from headgate.watch.model import Incident, Sample, Stall
from headgate.watch.naming import Origin, name
from headgate.watch.native import wall
from headgate.watch.outside_samples import Seen
from headgate.watch.stacks import Stack, module

_POLLS: Final = frozenset({"select", "poll", "wait", "do_poll", "_poll", "run", "run_forever", "sleep"})


@dataclass
class _Busy:
    """A thread's stretch so far."""

    since: int
    kind: str
    samples: list[Sample] = field(default_factory=list)


class Attached:
    """Watches one process by reading it.

    Args:
        pid: of the process.
        threshold: seconds for which a loop may be busy.
        look: reads it.
    """

    def __init__(self, pid: int, threshold: float, look: Callable[[int], Seen] = pyspy.look) -> None:
        self._pid = pid
        self._limit = int(threshold * 1e9)
        self._look = look
        self._busy: dict[int, _Busy] = {}
        self._idle_at: dict[int, int] = {}
        self._kinds: dict[int, str] = {}  # a running greenlet's stack may not show whose it is
        self.looks = 0

    def incidents(self, seconds: float, pause: float = 0.02) -> Iterator[Incident]:
        """The stalls of the next `seconds`, or until the process ends; last those that have not ended.

        Raises:
            CannotSee: the process cannot be read.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                seen = self._look(self._pid)
            except pyspy.CannotSee:
                if not self.looks or running(self._pid):
                    raise
                break
            self.looks += 1
            yield from self.take(seen)
            time.sleep(pause)
        yield from self.unfinished()

    def unfinished(self) -> Iterator[Incident]:
        """The stalls that lasted still when the process was read last; each is told once."""
        busy, self._busy = list(self._busy.values()), {}
        for each in busy:
            for incident in self._told(each, each.samples[-1].at):
                incident.unfinished = True
                yield incident

    def take(self, seen: Seen) -> Iterator[Incident]:
        """Take in one reading; the stalls that it shows to be over."""
        for tid in self._busy.keys() - seen.stacks.keys():
            yield from self._over(tid, seen)
        for tid, stack in seen.stacks.items():
            kind = loop_of(stack) or self._kinds.get(tid)
            if kind is not None:
                self._kinds[tid] = kind
            busy = self._busy.get(tid)
            if kind is None or polls(stack):
                if busy is not None:
                    yield from self._over(tid, seen)
                if kind is not None or busy is not None:
                    self._idle_at[tid] = seen.done
                continue
            if busy is None:
                before = self._idle_at.get(tid, seen.begun)
                busy = self._busy[tid] = _Busy((before + seen.done) // 2, kind)
            foreign = seen.owner not in (0, tid)
            shown = seen.stacks.get(seen.owner, stack) if foreign else stack
            busy.samples.append(Sample(seen.done, shown, root=hash(stack[-1:]), foreign=foreign, outside=True))

    def _over(self, tid: int, seen: Seen) -> Iterator[Incident]:
        busy = self._busy.pop(tid)
        yield from self._told(busy, (busy.samples[-1].at + seen.done) // 2)

    def _told(self, busy: _Busy, end: int) -> Iterator[Incident]:
        if end - busy.since < self._limit:
            return
        stall = Stall(busy.since, end, busy.kind, busy.kind, limit=self._limit, samples=busy.samples)
        incident = name(stall, Clues(), Origin(self._pid, f"pid {self._pid}"), wall())
        if incident is not None:
            yield incident


def loop_of(stack: Stack) -> str | None:
    """The kind of loop or hub that a thread runs, by its outer frames; None if it runs none.

    uvloop's own frames are C, which py-spy does not show: uvicorn runs it where none of asyncio's is below.
    """
    found = None
    for frame in reversed(stack):
        home = module(frame.file)
        if home == "asyncio.base_events" and frame.function.endswith("run_forever"):
            return "asyncio"
        if home in ("eventlet", "gevent"):
            return home
        if home in ("uvloop", "uvicorn") and frame.function.endswith("run"):
            found = "uvloop"
    return found


def polls(stack: Stack) -> bool:
    """Whether the innermost frame is the loop's own poll."""
    if not stack:
        return True
    inner = stack[0]
    home = module(inner.file)
    if home == "selectors" and inner.function.rpartition(".")[2] == "select":
        return loop_frame(stack[1:2])
    if home in ("eventlet", "gevent"):
        return inner.function.rpartition(".")[2] in _POLLS
    return home in ("asyncio.runners", "uvicorn", "asyncio.base_events") and inner.function.rpartition(".")[2] in (
        "run",
        "run_forever",
        "run_until_complete",
    )


def loop_frame(stack: Stack) -> bool:
    """Whether the frame is asyncio's turn."""
    return bool(stack) and stack[0].function.rpartition(".")[2] == "_run_once"
