"""The watchdog: one thread that looks at all lines of its process, and asks for a stall's stack while it lasts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from headgate.watch.accounts import used
from headgate.watch.board import (
    H_BEAT,
    H_CAUSES,
    H_DUMPING,
    H_GIL_STALLS,
    H_OBSERVER,
    H_SIGHT,
    H_TICK,
    H_WATCHDOG,
    SIGHTS,
    Board,
)
from headgate.watch.clues import Clues
from headgate.watch.gaps import HELD, STILL, Gap, Gaps
from headgate.watch.garbage import Collections
from headgate.watch.line import Line
from headgate.watch.machine import debugged
from headgate.watch.model import CAUSES, Incident, Stall
from headgate.watch.naming import Origin, name
from headgate.watch.native import MS, SECOND, allocate_lock, clock, get_native_id, say, sleep, wall
from headgate.watch.outside_samples import OutsideSamples
from headgate.watch.stall import OpenStall

PATIENCE: Final = SECOND
"""How long a finished stall waits for the observer to have read the process."""
FRESH: Final = 3 * SECOND
"""An observer that has not looked for longer is gone."""
PUNCTUAL: Final = 2 * MS
"""A turn that comes no later is worth no question why."""
STILL_BLOCKED: Final = 5 * SECOND
"""A stall that lasts longer is told of while it lasts: the process may be killed before it ends."""


@dataclass
class _Finished:
    line: Line
    stall: Stall
    clues: Clues
    sockets: int
    tasks: int
    waited: int
    due: int
    unfinished: bool = False
    span: Any = None


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
        self.collections = Collections()
        self._board = board
        self._rules = rules
        self._origin = origin
        self._tell = tell
        self._seen = None if folder is None else OutsideSamples(folder)
        self._finished: list[_Finished] = []
        self._gaps: list[tuple[Gap, int]] = []
        self.turned = 0
        self._pause = rules.tick
        self._threads_due = 0
        self._cpu = time.process_time_ns()
        self._opened = board.cells[H_BEAT] = clock()
        self._ended = allocate_lock()
        self._ended.acquire()
        self._reported: list[tuple[int, int]] = []
        self._stop = False
        self.failed = 0
        """Turns that an error of our own ended; the next one goes on."""

    def run(self) -> None:
        """Turn until `stop`."""
        self.lateness = Gaps(self._rules.tick, self._cpu, self._opened)
        self._board.cells[H_WATCHDOG] = get_native_id()
        self.collections.install()
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
        self.collections.remove()
        self._last_words(last)
        self._ended.release()

    def _last_words(self, last: int) -> None:
        """What is known when the process ends is told now, complete or not."""
        with contextlib.suppress(Exception):
            self._threads_due = 0
            self.turn(last, clock())
            finished, self._finished = self._finished, []
            for each in finished:
                self._report(each)

    def stop(self, seconds: float = 0.0) -> None:
        """End at the next turn, what is known by then reported; waits for that for so many seconds."""
        if not self._stop:
            self._stop = True
            self._ended.acquire(timeout=seconds)

    def settle(self, until: int) -> None:
        """From another thread: wait for two whole turns, and for what was left to be told after them."""
        seen = self.turned
        while clock() < until and (self.turned < seen + 3 or self._finished or self._gaps):
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
        self.lateness.punctual(late)
        return True

    def turn(self, last: int, now: int) -> None:
        """One look at everything, and for how long it may then look away."""
        self._board.cells[H_BEAT] = now
        gap = self.lateness.turn(last, now, self._pause)
        guess = (last + now) // 2
        if gap is not None:
            guess = gap.begin if gap.why == HELD else now
            if gap.why == HELD and gap.end - gap.begin > self._limit():
                self._gaps.append((gap, now + 3 * self._rules.tick))
        pause = self._look_at_all(last, now, guess, late=gap is not None)
        if self._gaps:
            self._report_gaps(now)
        if self._finished:
            self._report_finished(now)
        self._look_away(self._rules.tick if self._gaps or self._finished else pause)

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
            self._finish(line, begin, end, None, now)
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
            self._finish(line, since, now, line.open, now, unfinished=True)

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
                self._finish(line, *noted, state, now)
        state.close()

    def _finish(
        self, line: Line, begin: int, end: int, state: OpenStall | None, now: int, *, unfinished: bool = False
    ) -> None:
        """A stall is over, or lasts so long that it is told of now: give it its account, and the observer its time."""
        stall = Stall(begin, end, line.kind, line.name, limit=line.limit, uncertain=line.uncertain)
        self._account(stall, line, now)
        if state is not None:
            stall.samples = [sample for sample in state.samples() if sample.at <= end + self._rules.tick]
        blind = not stall.samples or self.lateness.within("", begin, end) >= 0.3 * stall.length
        due = now + PATIENCE if blind and self._observed(now) else now
        waited = end - state.waiting_since if state and state.waiting_since else 0
        clues = state.clues if state else Clues(handler=line.handler, request_id=line.request_id)
        sockets, tasks = (state.sockets, state.tasks) if state else (0, 0)
        self._finished.append(
            _Finished(line, stall, clues, sockets, tasks, waited, due, unfinished, state and state.span)
        )

    def _account(self, stall: Stall, line: Line, now: int) -> None:
        """What the line's thread and the process did in the meantime, by their own accounts."""
        first = stall.begin - max(5 * self._rules.tick, stall.length // 4)
        readings = [each for each in (line.last, line.inside) if each is not None and first <= each.at <= stall.end]
        found = used(stall.begin, stall.end, readings, line.thread.read(now))
        if found is not None:
            stall.cpu, stall.queued = found
        else:  # nobody looked at the thread before: what ran while nobody else could was it
            stall.roughly = True
            stall.cpu = min(stall.length, self.lateness.cpu(stall.begin, stall.end))
        stall.gc = self.collections.within(stall.begin, stall.end)
        stall.held = self.lateness.within(HELD, stall.begin, stall.end)
        stall.stopped = self.lateness.within(STILL, stall.begin, stall.end) >= 0.5 * stall.length
        stall.debugged = debugged()

    def _observed(self, now: int) -> bool:
        cells = self._board.cells
        return now - cells[H_OBSERVER] < FRESH and SIGHTS[cells[H_SIGHT]] in ("", "py-spy")

    def _report_gaps(self, now: int) -> None:
        """Held stretches that no busy line accounts for: all lines waited for another thread."""
        waiting = []
        for gap, due in self._gaps:
            if now < due:
                waiting.append((gap, due))
            elif not self._accounted(gap):
                self._report_gap(gap, now)
        self._gaps = waiting

    def _accounted(self, gap: Gap) -> bool:
        half = (gap.end - gap.begin) // 2
        busy = [(each.stall.begin, each.stall.end) for each in self._finished]
        busy += [(line.open.since, gap.end) for line in self.lines if line.open is not None]
        return any(gap.overlap(begin, end) >= half for begin, end in [*busy, *self._reported])

    def _report_gap(self, gap: Gap, now: int) -> None:
        line = next((line for line in self.lines if line.kind != "thread"), None) or next(iter(self.lines), None)
        if line is None:
            return
        stall = Stall(
            gap.begin, gap.end, line.kind, line.name, limit=line.limit, held=gap.end - gap.begin, debugged=debugged()
        )
        stall.gc = self.collections.within(gap.begin, gap.end)
        stall.uncertain = gap.uncertain
        due = now + PATIENCE if self._observed(now) else now
        self._board.cells[H_GIL_STALLS] += 1
        self._finished.append(_Finished(line, stall, Clues(), 0, 0, 0, due))

    def _report_finished(self, now: int) -> None:
        waiting = []
        for each in self._finished:
            if each.due > now and (self._board.cells[H_DUMPING] or each.due - now > PATIENCE - 2 * self._rules.tick):
                waiting.append(each)
            else:
                self._report(each)
        self._finished = waiting

    def _report(self, each: _Finished) -> None:
        stall, line = each.stall, each.line
        self._reported = [*self._reported[-15:], (stall.begin, stall.end)]
        late = self.lateness.within("", stall.begin, stall.end)
        if self._seen is not None and (late >= 0.3 * stall.length or not stall.samples):
            seen = self._seen.of(line.thread.tid, stall.begin, stall.end)
            stall.samples += seen
            if any(sample.holds for sample in seen):  # what looked like a want of CPU was the interpreter lock
                stall.held = max(stall.held, late)
        incident = name(stall, each.clues, self._origin, wall())
        if incident is None:
            return
        incident.sockets, incident.tasks, incident.waited = each.sockets, each.tasks, each.waited / SECOND
        incident.unfinished = each.unfinished
        if not self._tell(incident, each.span):
            return
        if not each.unfinished:
            line.count(stall.length)
            at = H_CAUSES + 2 * CAUSES.index(incident.cause)
            self._board.cells[at] += 1
            self._board.cells[at + 1] += stall.length

    def _limit(self) -> int:
        return min((line.limit for line in self.lines), default=self._rules.limit)
