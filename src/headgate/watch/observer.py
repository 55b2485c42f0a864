"""The observer: looks at the boards of a folder from outside, and reads a process whose watchdog cannot turn.

A watchdog that does not turn has lost the interpreter lock to somebody. Then py-spy tells who has it and where;
what it saw is left beside the board, and the process itself makes the incident of it. Of a process that dies in
a stall the observer makes it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from headgate.watch import board, pyspy
from headgate.watch.board import H_BEAT, H_DUMPING, H_OBSERVER, H_SIGHT, H_TICK, R_LIMIT, R_TID, SIGHTS, BoardView
from headgate.watch.clues import Clues
from headgate.watch.journal import Journal
from headgate.watch.machine import stopped
from headgate.watch.model import Incident, Sample, Stall
from headgate.watch.naming import Origin, name
from headgate.watch.native import MS, clock, say, wall
from headgate.watch.outside_samples import SUFFIX, Looks, Seen

TICK: Final = 0.02
SCAN: Final = 0.5
"""Seconds between two searches for new processes."""
FIRST: Final = 2000 * MS
"""A new process is left to its start before it is tried whether it can be read."""
AGAIN: Final = 80 * MS
OFTEN: Final = 8
"""Looks into one process in a row; then one a second."""
TRIAL: Final = 500 * MS
"""After a first look that failed; each one that fails doubles the pause before the next."""
SELDOM: Final = 300_000 * MS
LATE: Final = 60 * MS
"""Own lateness above which nothing is concluded from others'."""
GRACE: Final = 50 * MS
"""How late a watchdog may be: it says itself when it means to turn again."""


class Observed:
    """One watched process."""

    def __init__(self, view: BoardView) -> None:
        self.view = view
        self.kept = Looks(view.path.with_suffix(SUFFIX))
        self.found = clock()
        self.looks = self.trials = 0
        self.next = self.trial = 0
        self.stale_since = 0
        self.looking: threading.Thread | None = None
        self.seen: Seen | None = None
        self.problem = ""
        self.left = False
        """Taken leave of: a look that still runs is of no use to anybody."""


class Observer:
    """Observes until `stop`, on a thread of its own.

    Args:
        folder: where the boards are.
        look: reads a process; `pyspy.look`.
        tell: takes the incidents that the observer makes itself.
    """

    def __init__(
        self,
        folder: Path,
        look: Callable[[int], Seen] = pyspy.look,
        tell: Callable[[Incident], None] = lambda _incident: None,
    ) -> None:
        self._folder = folder
        self._look = look
        self._tell = tell
        self._journal = Journal(folder)
        self._observed: dict[str, Observed] = {}
        self._foreign: set[str] = set()
        self.gone: dict[int, tuple[str, str]] = {}
        """What could be seen of processes that have ended."""
        self.failed = 0
        """Errors of our own; each costs one process one look, and the first is told."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headgate-observer", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after a last look for processes that have died."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)
        for each in list(self._observed.values()):
            if each.looking is not None:
                each.looking.join(1.0)
        self._guarded(self._scan)

    def sights(self) -> dict[int, tuple[str, str]]:
        """pid → what can be seen of it ("py-spy", "refused", …), and why not more."""
        found = {}
        for each in list(self._observed.values()):
            found[each.view.pid] = (SIGHTS[each.view.live[H_SIGHT]], each.problem)
        return found

    def _run(self) -> None:
        last, scanned = clock(), 0
        while not self._stop.wait(TICK):
            now = clock()
            late = now - last > LATE
            last = now
            if now - scanned > SCAN * 1e9:
                scanned = now
                self._guarded(self._scan)
            for each in list(self._observed.values()):
                self._guarded(partial(self._turn, each, now, late=late))

    def _guarded(self, step: Callable[[], None]) -> None:
        """Whatever goes wrong with one process, the others go on being observed."""
        try:
            step()
        except Exception as exc:
            self.failed += 1
            if self.failed == 1:
                say(f"headgate watch: a look from outside failed ({exc!r}); the observer goes on")

    def _scan(self) -> None:
        """Find new boards, and take leave of dead processes."""
        try:
            files = {each.name: each.inode() for each in os.scandir(self._folder) if each.name.endswith(board.SUFFIX)}
        except OSError:
            return
        self._leave(lambda entry, view: files.get(entry) != view.inode)
        for entry in files:
            if entry not in self._observed and entry not in self._foreign:
                self._guarded(partial(self._found, entry))
        self._leave(lambda _entry, view: not view.alive())

    def _leave(self, over: Callable[[str, BoardView], bool]) -> None:
        for entry, each in list(self._observed.items()):
            if over(entry, each.view):
                del self._observed[entry]
                self._guarded(partial(self._gone, each))

    def _found(self, entry: str) -> None:
        try:
            self._observed[entry] = Observed(BoardView(self._folder / entry))
        except (ValueError, FileNotFoundError):
            pass  # it is being made, or has just been taken away
        except OSError:
            self._foreign.add(entry)

    def _gone(self, each: Observed) -> None:
        self.gone[each.view.pid] = (SIGHTS[each.view.live[H_SIGHT]], each.problem)
        if each.looking is not None:
            each.looking.join(1.0)
        each.left = True
        if not each.view.alive():
            with contextlib.suppress(Exception):
                self._died(each)
        self._clear(each.view)
        if each.looking is None or not each.looking.is_alive():
            each.view.close()

    def _clear(self, view: BoardView) -> None:
        """Remove what is left of a board that is nobody's any more; not one that has taken its place."""
        with contextlib.suppress(OSError):
            if view.path.stat().st_ino == view.inode:
                view.path.unlink()
        with contextlib.suppress(OSError):
            view.path.with_suffix(SUFFIX).unlink()

    def _turn(self, each: Observed, now: int, *, late: bool) -> None:
        cells = each.view.live
        cells[H_OBSERVER] = now
        beat = cells[H_BEAT]
        if not beat or (each.looking is not None and each.looking.is_alive()):
            return
        stale = now - beat >= cells[H_TICK] + GRACE
        if _to_be_tried(each, now) and (now - each.found > FIRST or (stale and not late)):
            each.trials += 1
            each.trial = now + min(TRIAL << each.trials, SELDOM)
            self._begin(each)
        elif not stale:
            each.looks, each.next = 0, 0
        elif not late and now >= each.next and SIGHTS[cells[H_SIGHT]] == "py-spy" and not stopped(each.view.pid):
            each.looks += 1
            each.next = now + (AGAIN if each.looks < OFTEN else 1000 * MS)
            self._begin(each)

    def _begin(self, each: Observed) -> None:
        """Read the process on a thread: others' stalls go on meanwhile."""
        looking = threading.Thread(target=self._read, args=(each,), name="headgate-look", daemon=True)
        looking.start()
        each.looking = looking

    def _read(self, each: Observed) -> None:
        cells = each.view.live
        cells[H_DUMPING] = clock()
        try:
            each.seen = self._look(each.view.pid)
            if not each.left:
                each.kept.add(each.seen)
            cells[H_SIGHT], each.problem = SIGHTS.index("py-spy"), ""
        except pyspy.CannotSee as exc:
            if SIGHTS[cells[H_SIGHT]] != "py-spy" and each.view.alive():
                cells[H_SIGHT], each.problem = SIGHTS.index(exc.sight), str(exc)
        except Exception as exc:
            each.problem = str(exc)
        finally:
            cells[H_DUMPING] = 0

    def _died(self, each: Observed) -> None:
        """Its board tells what it was at when it died; what its watchdog could not name we have seen ourselves."""
        cells, seen = each.view.cells, each.seen
        for at in each.view.rows():
            since, limit = cells[at], cells[at + R_LIMIT]
            held = cells[H_BEAT] < since + limit
            if not since or seen is None or not held or seen.begun < since or seen.done - since < limit:
                continue
            tid = cells[at + R_TID]
            foreign = seen.owner not in (0, tid)
            stack = seen.stacks.get(seen.owner if foreign else tid, ())
            sample = Sample(seen.done, stack, root=0, foreign=foreign, outside=True)
            kind = board.KINDS[cells[at + board.R_KIND]]
            stall = Stall(since, seen.done, kind, board.row_name(cells, at), held=seen.done - since, samples=[sample])
            stall.cpu = stall.length
            incident = name(stall, Clues(), Origin(each.view.pid, each.view.name), wall())
            if incident is not None:
                incident.unfinished = True
                self._journal.add(incident)
                self._tell(incident)


def _to_be_tried(each: Observed, now: int) -> bool:
    """Whether it has not been read yet, and may be: a refusal stays one, anything else may pass."""
    return now >= each.trial and SIGHTS[each.view.live[H_SIGHT]] in ("", "missing", "broken")
