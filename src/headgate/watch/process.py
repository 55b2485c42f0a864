"""The watch of one process: its board, its watchdog, its lines, and where incidents go. It survives forks."""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from headgate.watch import spans, wording
from headgate.watch.board import H_OBSERVER, H_SIGHT, SIGHTS, Board
from headgate.watch.incidents import Groups
from headgate.watch.journal import Journal
from headgate.watch.line import Line, PingedLine
from headgate.watch.model import IMPORT, Incident
from headgate.watch.naming import Origin
from headgate.watch.native import SECOND, allocate_lock, clock, get_ident, getpid, say, start_thread
from headgate.watch.telling import FRESH
from headgate.watch.watchdog import Rules, Watchdog

LONGEST: Final = 1e9
"""Seconds that stand for "for ever"."""
LAST_WORDS: Final = 1.0
"""Seconds that the end of a process waits for the watchdog at most."""
START_UP: Final = 60 * SECOND
"""Imports that block so soon after the first line belong to the start."""


@dataclass
class Options:
    """How a process is watched.

    Args:
        folder: for board and journal; None: nobody outside sees anything.
        name: what the process is called.
        limit: seconds for which a loop may be busy without a stall.
        handler_limit: seconds for which a handler in a thread may run without an incident.
        log: takes the line of each incident worth one; None: nobody reads them.
        hear: takes each incident.
        observer: process that may read this one, for systems where that must be allowed (yama).
        rests: whether the watchdog may look away for longer while nothing is amiss. Who waits for it would rather not.
    """

    folder: Path | None = None
    name: str = ""
    limit: float = 0.1
    handler_limit: float = 1.0
    log: Callable[[str], None] | None = say
    hear: Callable[[Incident], None] | None = None
    observer: int = 0
    rests: bool = True


class Watch:
    """The watch of this process; nothing happens before its first line."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.groups = Groups()
        self.undo: list[Callable[[], None]] = []
        self._lines: list[Line] = []
        self._lock = allocate_lock()
        self._board: Board | None = None
        self._watchdog: Watchdog | None = None
        self._journal: Journal | None = None
        self._pid = getpid()
        self._names: dict[str, int] = {}
        _watches.add(self)
        self.active = True
        self._serving_since = 0
        self._opened = clock()

    def starting(self) -> None:
        """The process starts: what blocks until `serves` is noted, marked, and troubles nobody."""
        self._serving_since = 1 << 62

    def serves(self) -> None:
        """From now on a stall is somebody's."""
        self._serving_since = clock()

    def line(self, kind: str, name: str = "", limit: float | None = None) -> Line | None:
        """A line for the calling thread; None when the watch is over or its board full.

        Args:
            kind: one of `KINDS`.
            name: what to call it; made from the kind otherwise.
            limit: seconds that a stretch may take, unless the options' are meant.
        """
        if limit is None:
            limit = self.options.handler_limit if kind == "thread" else self.options.limit
        limit = min(limit, LONGEST)
        return self._begin(lambda board, called: Line(board, kind, called, int(limit * SECOND)), kind, name)

    def pinged_line(self, kind: str, send: Callable[[], object]) -> Any:
        """A line for a loop of this thread that has no hook; see `PingedLine`."""
        limit = int(self.options.limit * SECOND)
        return self._begin(lambda board, called: PingedLine(board, kind, called, limit, send), kind, "")

    def _begin(self, make: Callable[[Board, str], Line], kind: str, name: str) -> Line | None:
        if not self.active:
            return None
        with self._lock:
            number = self._names[kind] = self._names.get(kind, -1) + 1
            called = name or (kind if number == 0 else f"{kind}-{number}")
            try:
                board = self._board or self._open()
                line = make(board, called)
            except (OSError, OverflowError):
                return None
            self._lines = [known for known in self._lines if not known.closed]
            self._lines.append(line)
            assert self._watchdog is not None
            self._watchdog.lines.append(line)
            return line

    def _open(self) -> Board:
        options = self.options
        rules = Rules(int(options.limit * SECOND), int(options.handler_limit * SECOND), options.rests)
        name = options.name or _program()
        try:
            board = Board(options.folder, name, rules.tick)
        except OSError:
            board = Board(None, name, rules.tick)
        self._board = board
        self._journal = Journal(options.folder) if options.folder is not None else None
        self._watchdog = Watchdog(board, options.folder, rules, Origin(getpid(), name), self._tell)
        _allow(options.observer)
        start_thread(self._watchdog.run, ())
        atexit.register(self._exit, getpid())
        return board

    def _tell(self, incident: Incident, span: Any) -> bool:
        young = incident.cause == IMPORT and clock() - self._opened < START_UP
        incident.startup = young or incident.ended < self._serving_since
        if incident.startup:
            self._keep(incident)
            return False
        untold = None if incident.unfinished else self.groups.tell(incident, clock() / SECOND)
        self._keep(incident)
        spans.note(incident, span)
        if self.options.log is not None and (untold is not None or incident.unfinished):
            self.options.log(wording.line(incident, untold or 0))
        return True

    def _keep(self, incident: Incident) -> None:
        if self._journal is not None:
            self._journal.add(incident)
        if self.options.hear is not None:
            self.options.hear(incident)

    def sight(self) -> str:
        """What the observer outside sees: "py-spy", or why stalls that hold the interpreter lock are named late."""
        if self._board is None or clock() - self._board.cells[H_OBSERVER] > FRESH:
            return "late, GIL-blind: nobody looks from outside"
        sight = SIGHTS[self._board.cells[H_SIGHT]]
        return sight or "not tried yet" if sight in ("", "py-spy") else f"late, GIL-blind: {_WHY.get(sight, sight)}"

    def facts(self) -> dict[str, Any]:
        """What `headgate status` and the metrics show."""
        return {**self.groups.facts(), "sight": self.sight()}

    def settle(self, until: int) -> None:
        """Wait until all stalls that are over by now are told of; not beyond `until` (monotonic ns)."""
        if self._watchdog is not None:
            self._watchdog.settle(until)

    def stop(self) -> None:
        """End the watch and take the hooks away."""
        self.active = False
        for undo in reversed(self.undo):
            undo()
        self.undo.clear()
        self._exit(getpid())
        atexit.unregister(self._exit)

    def _exit(self, pid: int) -> None:
        """The process ends: what the watchdog knows is told, and the board taken away. Not by a fork's child."""
        if pid != self._pid:
            return
        if self._watchdog is not None:
            self._watchdog.stop(LAST_WORDS)
        if self._board is not None:
            self._board.remove()

    def forked(self) -> None:
        """In a child: its parent's board is not its own. Lines of the forking thread go on on a new one."""
        inherited = [line for line in self._lines if not line.closed and line.thread.ident == get_ident()]
        self._lock = allocate_lock()
        if self._watchdog is not None:
            self._watchdog.close()
        atexit.unregister(self._exit)
        self._board = self._watchdog = None
        self._lines, self._names, self.groups = [], {}, Groups()
        self._pid = getpid()
        if not self.active:
            return
        for line in inherited:
            self._adopt(line)

    def _adopt(self, line: Line) -> None:
        try:
            board = self._board or self._open()
            line.moved(board)
        except (OSError, OverflowError):
            return
        self._lines.append(line)
        assert self._watchdog is not None
        self._watchdog.lines.append(line)


_watches: weakref.WeakSet[Watch] = weakref.WeakSet()


def _forked() -> None:
    for watch in list(_watches):
        watch.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

_WHY: Final = {
    "refused": "the system does not let the observer read this process (ptrace)",
    "missing": "py-spy is not installed",
    "broken": "py-spy cannot read this process",
}


def _program() -> str:
    return " ".join([os.path.basename(sys.argv[0] if sys.argv else "python"), *sys.argv[1:3]])[:100]


def _allow(observer: int) -> None:
    """Let the observer and its children read this process where yama allows only that (prctl, PR_SET_PTRACER)."""
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope", encoding="ascii") as scope:
            if not observer or scope.read().strip() != "1":
                return
        import ctypes

        ctypes.CDLL(None).prctl(0x59616D61, observer, 0, 0, 0)
    except (OSError, AttributeError, ImportError):
        return
