"""Stalls that are over, and held stretches: they get their accounts, the observer gets its time, and they are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from headgate.watch.accounts import used
from headgate.watch.board import H_CAUSES, H_DUMPING, H_GIL_STALLS, H_OBSERVER, H_SIGHT, SIGHTS, Board
from headgate.watch.clues import Clues
from headgate.watch.gaps import HELD, STILL, Gap, Gaps
from headgate.watch.garbage import Collections
from headgate.watch.line import Line
from headgate.watch.machine import debugged
from headgate.watch.model import CAUSES, Incident, Stall
from headgate.watch.naming import Origin, name
from headgate.watch.native import SECOND, wall
from headgate.watch.outside_samples import OutsideSamples
from headgate.watch.stall import OpenStall

PATIENCE: Final = SECOND
"""How long a finished stall waits for the observer to have read the process."""
FRESH: Final = 3 * SECOND
"""An observer that has not looked for longer is gone."""


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


class Telling:
    """What a watchdog has found and not told of yet.

    Args:
        board: of the process.
        folder: where an observer leaves what it saw; None: there is none.
        tick: the watchdog's shortest pause, ns.
        origin: the process, for the incidents.
        tell: takes each incident, on the watchdog's thread; whether it counts.
    """

    def __init__(
        self, board: Board, folder: Path | None, tick: int, origin: Origin, tell: Callable[[Incident, Any], bool]
    ) -> None:
        self.collections = Collections()
        self.lateness: Gaps
        """The watchdog's own, made on its thread."""
        self._board = board
        self._tick = tick
        self._origin = origin
        self._tell = tell
        self._seen = None if folder is None else OutsideSamples(folder)
        self._finished: list[_Finished] = []
        self._gaps: list[tuple[Gap, int]] = []
        self._reported: list[tuple[int, int]] = []

    def pending(self) -> bool:
        """Whether anything waits to be told."""
        return bool(self._finished or self._gaps)

    def gap(self, gap: Gap, now: int) -> None:
        """Somebody held the interpreter lock: if no line turns out to have been it, that is told by itself."""
        self._gaps.append((gap, now + 3 * self._tick))

    def proceed(self, lines: list[Line], now: int) -> None:
        """Tell of what is due."""
        if self._gaps:
            self._report_gaps(lines, now)
        if self._finished:
            self._report_finished(now)

    def flush(self) -> None:
        """Tell of all stalls, due or not."""
        finished, self._finished = self._finished, []
        for each in finished:
            self._report(each)

    def finish(
        self, line: Line, begin: int, end: int, state: OpenStall | None, now: int, *, unfinished: bool = False
    ) -> None:
        """A stall is over, or lasts so long that it is told of now: give it its account, and the observer its time."""
        stall = Stall(begin, end, line.kind, line.name, limit=line.limit, uncertain=line.uncertain)
        self._account(stall, line, now)
        if state is not None:
            stall.samples = [sample for sample in state.samples() if sample.at <= end + self._tick]
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
        first = stall.begin - max(5 * self._tick, stall.length // 4)
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

    def _report_gaps(self, lines: list[Line], now: int) -> None:
        """Held stretches that no busy line accounts for: all lines waited for another thread."""
        waiting = []
        for gap, due in self._gaps:
            if now < due:
                waiting.append((gap, due))
            elif not self._accounted(gap, lines):
                self._report_gap(gap, lines, now)
        self._gaps = waiting

    def _accounted(self, gap: Gap, lines: list[Line]) -> bool:
        half = (gap.end - gap.begin) // 2
        busy = [(each.stall.begin, each.stall.end) for each in self._finished]
        busy += [(line.open.since, gap.end) for line in lines if line.open is not None]
        return any(gap.overlap(begin, end) >= half for begin, end in [*busy, *self._reported])

    def _report_gap(self, gap: Gap, lines: list[Line], now: int) -> None:
        known = [line for line in lines if line.turns()]
        line = next((line for line in known if line.kind != "thread"), None) or next(iter(known), None)
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
            if each.due > now and (self._board.cells[H_DUMPING] or each.due - now > PATIENCE - 2 * self._tick):
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
