"""The watchdog: one thread that looks at all lines of its process, and asks for a stall's stack while it lasts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from headgate.watch.board import H_BEAT, H_TICK, H_WATCHDOG, Board
from headgate.watch.gaps import HELD, Gaps
from headgate.watch.line import Line
from headgate.watch.model import Incident
from headgate.watch.naming import Origin
from headgate.watch.native import MS, SECOND, allocate_lock, clock, get_native_id, say, sleep
from headgate.watch.stall import OpenStall
from headgate.watch.telling import Telling

PUNCTUAL: Final = 2 * MS
"""A turn that comes no later is worth no question why."""
STILL_BLOCKED: Final = 5 * SECOND
"""A stall that lasts longer is told of while it lasts: the process may be killed before it ends."""


@dataclass
class Rules:
    """How to watch.

    Args:
        limit: nanoseconds for which a loop may be busy.
        handler_limit: nanoseconds for which a handler may run in its thread.
        rests: whether it may look away for longer while nothing is amiss.
    """

    limit: int = 100 * MS
    handler_limit: int = SECOND
    rests: bool = True
    tick: int = field(init=False)
    """Nanoseconds between two turns, while a stretch is sampled."""
    rest: int = field(init=False)
    """The same while nothing is amiss: most of the watch's cost is that its thread wakes."""
    stride: int = field(init=False)
    """Nanoseconds between two looks at handlers' threads, of which there may be a thousand."""

    def __post_init__(self) -> None:
        self.tick = max(2 * MS, min(25 * MS, self.limit // 4, self.handler_limit // 4))
        self.rest = 3 * self.tick if self.rests else self.tick
        self.stride = max(self.tick, min(10 * self.tick, self.handler_limit // 4))


class Watchdog:
    """Looks at lines until told to stop.

    Args:
        board: where it stamps its own turns.
        folder: where an observer leaves what it saw; None: there is none.
        rules: how to watch.
        origin: the process, for the incidents.
        tell: takes each incident, on the watchdog's thread; whether it counts.
    """

    def __init__(
        self, board: Board, folder: Path | None, rules: Rules, origin: Origin, tell: Callable[[Incident, Any], bool]
    ) -> None:
        self.lines: list[Line] = []
        self._telling = Telling(board, folder, rules.tick, origin, tell)
        self._board = board
        self._rules = rules
        self.turned = 0
        self._pause = rules.tick
        self._threads_due = 0
        self._cpu = time.process_time_ns()
        self._opened = board.cells[H_BEAT] = clock()
        self._ended = allocate_lock()
        self._ended.acquire()
        self._stop = False
        self.failed = 0
        """Turns that an error of our own ended; the next one goes on."""

    def run(self) -> None:
        """Turn until `stop`."""
        self._telling.lateness = self._lateness = Gaps(self._rules.tick, self._cpu, self._opened)
        self._board.cells[H_WATCHDOG] = get_native_id()
        self._telling.collections.install()
        last = self._opened
        while not self._stop:
            sleep(self._pause / SECOND)
            now = clock()
            try:
                if not self._nothing_new(last, now):
                    self.turn(last, now)
            except Exception as exc:  # the watch must not fall silent, nor fill the log
                self.failed += 1
                if self.failed == 1:
                    say(f"headgate watch: a look failed ({exc!r}); the watch goes on")
            last = now
            self.turned += 1
        self._telling.collections.remove()
        self._last_words(last)
        self.close()
        self._ended.release()

    def close(self) -> None:
        """Give the descriptors back, its own and its lines': it turns no more. Called in a fork's child too."""
        with contextlib.suppress(AttributeError):  # it had not begun to turn
            self._lateness.close()
        for line in self.lines:
            line.thread.close()

    def _last_words(self, last: int) -> None:
        """What is known when the process ends is told now, complete or not."""
        with contextlib.suppress(Exception):
            self._threads_due = 0
            self.turn(last, clock())
            self._telling.flush()

    def stop(self, seconds: float = 0.0) -> None:
        """End at the next turn, what is known by then reported; waits for that for so many seconds."""
        if not self._stop:
            self._stop = True
            self._ended.acquire(timeout=seconds)

    def settle(self, until: int) -> None:
        """From another thread: wait for two whole turns, and for what was left to be told after them."""
        seen = self.turned
        while clock() < until and (self.turned < seen + 3 or self._telling.pending()):
            sleep(0.002)

    def _nothing_new(self, last: int, now: int) -> bool:
        """A short look, at which most turns of an idle process end."""
        late = now - last - self._pause
        if late > PUNCTUAL or self._pause <= self._rules.tick or now >= self._threads_due:
            return False
        for line in self.lines[:]:
            if line.kind != "thread" and not line.rests(now):
                return False
        self._board.cells[H_BEAT] = now
        self._lateness.punctual(late)
        return True

    def turn(self, last: int, now: int) -> None:
        """One look at everything, and for how long it may then look away."""
        self._board.cells[H_BEAT] = now
        gap = self._lateness.turn(last, now, self._pause)
        guess = (last + now) // 2
        if gap is not None:
            guess = gap.begin if gap.why == HELD else now
            if gap.why == HELD and gap.end - gap.begin > self._limit():
                self._telling.gap(gap, now)
        pause = self._look_at_all(last, now, guess, late=gap is not None)
        self._telling.proceed(self.lines, now)
        self._look_away(self._rules.tick if self._telling.pending() else pause)

    def _look_at_all(self, last: int, now: int, guess: int, *, late: bool) -> int:
        """Look at each line; returns for how long none needs another look, ns."""
        rules, pause = self._rules, self._rules.rest
        threads = now >= self._threads_due
        if threads:
            self._threads_due = now + rules.stride
        for line in self.lines[:]:
            if line.kind == "thread":
                pause = min(pause, rules.stride)
                if not threads:
                    continue
            if line.closed:
                self._drop(line, now)
                continue
            line.look(now, guess, guess - last)
            self._look(line, now, late=late)
            if line.kind != "thread":
                pause = min(pause, line.pause(now, rules.tick))
        return pause

    def _look_away(self, pause: int) -> None:
        """Until the next turn; an observer is told when to expect it."""
        if pause != self._pause:
            self._pause = self._board.cells[H_TICK] = pause

    def _look(self, line: Line, now: int, *, late: bool) -> None:
        since, state = line.since(), line.open
        if state is not None and since != state.since:
            line.open = None
            self._close(line, state, now)
        while line.ended:
            begin, end = line.ended.popleft()
            self._telling.finish(line, begin, end, None, now)
        if not since:
            if line.kind != "thread":  # a thread's account is taken when it has been at something for long
                line.last = line.thread.read_again(now, line.last)
            return
        if line.open is None:
            self._read(line, since, now)
            if now - since < line.limit // 2:
                return
            line.open = OpenStall(line, since)
        line.open.sample(now, late=late)
        if now - since > STILL_BLOCKED and not late and not line.open.told and line.kind != "thread":
            line.open.told = True
            self._telling.finish(line, since, now, line.open, now, unfinished=True)

    def _read(self, line: Line, since: int, now: int) -> None:
        """The account of a thread that is busy: one at about its begin, or one before and one inside."""
        if line.last is None or now - since < self._rules.tick:
            line.last = line.thread.read(now)
        elif line.inside is None or line.inside.at < since:
            line.inside = line.thread.read(now)

    def _drop(self, line: Line, now: int) -> None:
        """Take leave of a line that has ended, after what it has noted at its end."""
        self._look(line, now, late=False)
        if line.open is not None:
            line.open.close()
        line.thread.close()
        self.lines.remove(line)

    def _close(self, line: Line, state: OpenStall, now: int) -> None:
        """A stretch that was looked at is over; if it was long enough the line has noted its end."""
        for noted in list(line.ended):
            if noted[0] == state.since:
                line.ended.remove(noted)
                self._telling.finish(line, *noted, state, now)
        state.close()

    def _limit(self) -> int:
        return min((line.limit for line in self.lines), default=self._rules.limit)
