"""A line: one thing that ought to keep turning (a loop, a hub) or to end (a handler in a thread), with its stamps."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from headgate.watch.board import (
    KINDS,
    R_COUNT,
    R_KIND,
    R_LIMIT,
    R_NAME,
    R_SINCE,
    R_STALLED,
    R_TID,
    R_USED,
    R_WORST,
    ROW_NAME_CELLS,
    Board,
    write_text,
)
from headgate.watch.machine import Reading, Thread
from headgate.watch.native import SECOND, clock, get_ident, get_native_id, moment, nanoseconds

if TYPE_CHECKING:
    from headgate.watch.stall import OpenStall

NOT_YET: float = -1.0
"""A stamp of a fork's child: its line was its parent's, and counts only once the child itself has turned it."""
KEPT: int = 64
"""Ended stretches that wait for the watchdog at most."""


class Line:
    """Made on the thread that is to be watched.

    Args:
        board: where the stamps go.
        kind: one of `KINDS`.
        name: to tell lines of a process apart.
        limit: nanoseconds above which a busy stretch is a stall.

    Raises:
        OverflowError: all rows of the board are taken.
    """

    def __init__(self, board: Board, kind: str, name: str, limit: int) -> None:
        self.kind = kind
        self.name = name
        self.limit = limit
        self.thread = Thread(get_ident(), get_native_id())
        self.ended: deque[tuple[int, int]] = deque(maxlen=KEPT)
        """(begin, end) of stretches over the limit, noted by the line itself."""
        self.handler = ""
        self.request_id = ""
        self.base: FrameType | None = None
        """The frame that runs the loop, where that is known."""
        self.poller = -1
        """The loop's epoll descriptor, where that is known."""
        self.ready: Callable[[], int] | None = None
        """How many callbacks are ready to run."""
        self.last: Reading | None = None
        """The thread's account at about the begin of the stretch that runs, or before it."""
        self.inside: Reading | None = None
        """The first one that was read well inside of a stretch."""
        self.open: OpenStall | None = None
        self.uncertain = 0
        """Nanoseconds by which the stamp of the stretch that runs may be wrong."""
        self.asking = 0
        """1 while a question to the loop is under way: its wake-up is no socket that waits."""
        self.closed = False
        self.rebinds: list[Callable[[], None]] = []
        """What holds the board's cells by itself, and must be told of new ones."""
        self.put_on(board)

    def put_on(self, board: Board) -> None:
        """Take a row of this board; after a fork, of the child's own."""
        at = board.row()
        if at is None:
            raise OverflowError("all rows of the board are taken")
        self.at, self.cells, self.stamps = at, board.cells, board.stamps
        cells = self.cells
        cells[at + R_TID], cells[at + R_KIND] = self.thread.tid, KINDS.index(self.kind)
        cells[at + R_LIMIT] = self.limit
        write_text(cells, at + R_NAME, ROW_NAME_CELLS, self.name)

    def moved(self, board: Board) -> None:
        """After a fork, on the only thread that is left: go on on the child's own board."""
        self.thread.close()
        self.thread = Thread(get_ident(), get_native_id())
        self.open = self.last = self.inside = None
        self.ended.clear()
        self.poller = -1
        self.put_on(board)
        self.stamps[self.at] = NOT_YET
        for rebind in self.rebinds:
            rebind()

    def look(self, now: int, guess: int, margin: int) -> None:
        """Called by the watchdog before it reads the stamp; for lines that cannot stamp by themselves.

        Args:
            now: the time.
            guess: when what is found busy now has begun, if it was idle when the watchdog last looked.
            margin: nanoseconds by which that may be wrong.
        """

    def rests(self, now: int) -> bool:
        """Whether it waited at the last look and its thread has not run since: nothing can have happened to it."""
        last = self.last
        if last is None or not last.cpu or self.stamps[self.at] > 0 or self.closed or self.thread.cpu() != last.cpu:
            return False
        self.last = Reading(now, last.cpu, last.queued)
        return True

    def pause(self, now: int, tick: int) -> int:
        """For how long the watchdog may look away, ns: every stretch over the limit is to be seen while it lasts.

        Args:
            now: the time of its look.
            tick: the shortest pause, for stretches that are sampled.
        """
        if self.open is not None:
            return tick
        since = self.since()
        return max(tick, min(3 * tick, since + 3 * self.limit // 4 - now)) if since else 3 * tick

    def busy(self) -> None:
        """Stamp: it has begun something."""
        self.stamps[self.at] = moment()

    def idle(self) -> None:
        """Stamp: it waits for something to do. A stretch over the limit is noted."""
        stamps, at = self.stamps, self.at
        since = stamps[at]
        if since:
            now = moment()
            if (now - since) * SECOND > self.limit and since != NOT_YET:
                self.ended.append((nanoseconds(since), nanoseconds(now)))
            stamps[at] = 0.0

    def since(self) -> int:
        """Since when it has been busy, ns; 0 when it is not."""
        return 0 if self.closed else max(0, nanoseconds(self.stamps[self.at + R_SINCE]))

    def turns(self) -> bool:
        """Whether it has turned in this process, and not only in the parent that this one was forked from."""
        return self.stamps[self.at + R_SINCE] != NOT_YET

    def count(self, length: int) -> None:
        """Note an incident for those who look at the board."""
        if self.closed:  # the row may be another line's by now
            return
        cells, at = self.cells, self.at
        cells[at + R_COUNT] += 1
        cells[at + R_STALLED] += length
        cells[at + R_WORST] = max(cells[at + R_WORST], length)

    def leave(self) -> None:
        """Give the row back; a stretch that was too long up to now is noted."""
        self.idle()
        self.closed = True
        self.cells[self.at + R_USED] = 0


class PingedLine(Line):
    """A loop without a hook around its poll (uvloop, gevent's): no cost per turn.

    Its state is found out from outside: while its thread sleeps in the loop's own poll it is idle. When the thread
    is found elsewhere the loop is asked to call back, and the stretch is over when it does. Where the system does
    not say what a thread sleeps in, the loop is asked always.

    Args:
        send: makes the loop call `pong` at its next turn; callable from any thread.
    """

    def __init__(self, board: Board, kind: str, name: str, limit: int, send: Callable[[], object]) -> None:
        super().__init__(board, kind, name, limit)
        self._send = send
        self._asked = 0
        self._proof = clock()
        self._tells = self.thread.tells_calls
        self._parked = -1
        """The CPU time of its thread when it was last seen in the loop's poll."""

    def moved(self, board: Board) -> None:
        self._asked = self.asking = self._proof = 0
        self._parked, self._candidate = -1, -2
        super().moved(board)

    def rests(self, now: int) -> bool:
        if self.last is None or self.last.cpu != self._parked or not super().rests(now):
            return False
        self._proof = now
        return True

    def pause(self, now: int, tick: int) -> int:
        return min(8 * tick // 5, super().pause(now, tick))  # half of it is how well a begin is known

    def look(self, now: int, guess: int, margin: int) -> None:
        if self._is_parked(now):
            self._proof = now
            if not self._asked:
                self.idle()
            return
        stamps, at = self.stamps, self.at
        if not stamps[at]:
            stamps[at] = max(guess, self._proof) / SECOND
            self.uncertain = margin
        if not self._asked:
            self._asked, self.asking = now, 1
            with contextlib.suppress(RuntimeError):  # the loop has just been closed
                self._send()

    def pong(self) -> None:
        """The loop turns: called on its thread."""
        self._asked = self.asking = 0
        self._proof = clock()
        self.idle()

    def _is_parked(self, now: int) -> bool:
        """Whether its thread sleeps in the loop's poll; one that has not run since it was seen there still does."""
        cpu = self.thread.cpu()  # before the look: what runs in between is noticed by the next one
        if cpu == self._parked and cpu:
            return True
        found = self._sleeps_in_poll(now)
        self._parked = cpu if found else -1
        return found

    def _sleeps_in_poll(self, now: int) -> bool:
        if not self._tells:
            return False
        found = self.thread.sleeps_in()
        if found is None or not found[0].startswith("epoll"):
            return False
        if self.poller < 0:
            self._learn(found[1], now)
            return False
        return found[1] == self.poller

    def _learn(self, descriptor: int, now: int) -> None:
        """An epoll that answers a question at once is the loop's own, and no user's inside a handler."""
        if not self._asked and self._proof and now - self._proof < 4 * self.limit and self._candidate == descriptor:
            self.poller = descriptor
        self._candidate = descriptor

    _candidate = -2
