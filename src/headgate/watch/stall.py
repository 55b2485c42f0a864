"""A stall while it lasts: its samples, taken ever more seldom, and who waits meanwhile."""

from __future__ import annotations

import contextlib
import select
from types import FrameType
from typing import Any, Final

from headgate.watch.clues import Clues, find, lines
from headgate.watch.line import Line
from headgate.watch.model import Sample
from headgate.watch.native import MS, close_file, duplicate, epoll
from headgate.watch.spans import span_of
from headgate.watch.stacks import Raw, current, root, take, write_out

SAMPLES: Final = 60
"""Samples of one stall at most; the time between two grows, so that these cover minutes."""
LOOKS: Final = 3
"""Samples whose variables are looked at."""
MOST_SOCKETS: Final = 4096

Taken = tuple[int, list[Raw], str, int, str, bool]


class OpenStall:
    """What the watchdog knows of a stretch that is, or may become, a stall.

    Args:
        line: the line that is busy.
        since: its stamp.
    """

    def __init__(self, line: Line, since: int) -> None:
        self.since = since
        self.clues = Clues(handler=line.handler, request_id=line.request_id)
        self.sockets = self.tasks = 0
        self.waiting_since = 0
        self.told = False
        self.span: Any = None
        """The OpenTelemetry span that it happens in, where there is one."""
        self._line = line
        self._taken: list[Taken] = []
        self._roots: list[FrameType] = []
        self._next = 0
        self._poller = _poller(line)

    def sample(self, now: int, *, late: bool) -> None:
        """Take a sample if one is due; on the watchdog's thread, with the interpreter lock."""
        if now < self._next or len(self._taken) >= SAMPLES:
            return
        self._next = now + max(0, (now - self.since) // 8 - 10 * MS)
        line = self._line
        sleeping = line.thread.sleeps_in()
        frame = current(line.thread.ident)
        if frame is None:
            return
        if len(self._taken) < LOOKS:
            found = find(frame)
            call = found.call
            if late:  # a call seen late is not the one that held the interpreter lock
                found.call = ""
                found.merge(lines(frame))
            self.clues.merge(found)
            self.span = self.span or span_of(frame)
        else:
            call = self._call(frame)
        self._taken.append((now, take(frame), call, self._root(frame), sleeping[0] if sleeping else "", late))
        self._see_who_waits(now)

    def _call(self, frame: FrameType) -> str:
        """The call of an earlier sample at the same instruction, else a new look."""
        here = (frame.f_code, frame.f_lasti)
        for taken in reversed(self._taken):
            if taken[1] and taken[1][0] == here:
                return taken[2]
        return find(frame).call

    def _root(self, frame: FrameType) -> int:
        if self._line.kind == "thread":
            return 1
        found = root(frame, self._line.base)
        for number, known in enumerate(self._roots):
            if known is found:
                return number + 1
        if found is not None:
            self._roots.append(found)
        return len(self._roots)

    def _see_who_waits(self, now: int) -> None:
        if self._poller is not None:
            with contextlib.suppress(OSError, ValueError):
                count = len(self._poller.poll(0, MOST_SOCKETS)) - self._line.asking
                self.sockets = max(self.sockets, count)
                if count and not self.waiting_since:
                    self.waiting_since = now
        if self._line.ready is not None:
            with contextlib.suppress(Exception):
                self.tasks = max(self.tasks, self._line.ready())
                if self.tasks and not self.waiting_since:
                    self.waiting_since = now

    def samples(self) -> list[Sample]:
        """All samples, written out."""
        return [
            Sample(at, write_out(raw), call, number, sleeping, late=late)
            for at, raw, call, number, sleeping, late in self._taken
        ]

    def close(self) -> None:
        """Let go of frames and descriptors."""
        self._roots.clear()
        if self._poller is not None:
            with contextlib.suppress(OSError):
                self._poller.close()


def _poller(line: Line) -> select.epoll | None:
    """A second handle on the loop's epoll: asking it what is ready takes nothing away (it is level-triggered)."""
    if line.poller < 0 or epoll is None:
        return None
    try:
        descriptor = duplicate(line.poller)
    except OSError:
        return None
    try:
        second: select.epoll = epoll.fromfd(descriptor)
        return second
    except (OSError, ValueError):
        close_file(descriptor)
        return None
