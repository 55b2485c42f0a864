"""Handlers on threads: what each thread runs and since when; one that runs too long is an incident."""

from __future__ import annotations

import threading
from typing import Any

from headgate.watch.board import row_name
from headgate.watch.line import Line
from headgate.watch.model import label
from headgate.watch.native import clock
from headgate.watch.process import Watch
from headgate.watch.stacks import blamed, current, take, write_out


class _End:
    """Goes with its thread's variables and takes the line along: some servers make a thread for each request."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def __del__(self) -> None:
        if not self._line.closed:
            self._line.leave()


def is_green() -> bool:
    """Whether "threads" are green here: their stretches are turns of a hub, which is watched itself."""
    return threading.local.__module__ not in ("_thread", "_threading_local")


class HandlerThreads:
    """Stamps for the threads of a server.

    Args:
        watch: of this process.
        limit: seconds that a handler may take; None: as the watch has it.
    """

    def __init__(self, watch: Watch, limit: float | None = None) -> None:
        self._watch = watch
        self._limit = limit
        self._local = threading.local()
        self._lines: list[Line] = []

    def begin(self, handler: str, request_id: str = "") -> None:
        """The calling thread begins a handler. Pairs do not nest: the innermost name counts."""
        line: Line | None = getattr(self._local, "line", None)
        if line is None:
            if is_green():
                return
            line = self._watch.line("thread", threading.current_thread().name, self._limit)
            if line is None:
                return
            self._local.line = line
            self._local.end = _End(line)
            self._lines = [each for each in self._lines if not each.closed] + [line]
        line.handler, line.request_id = handler, request_id
        line.busy()

    def end(self) -> None:
        """The calling thread has ended its handler."""
        line: Line | None = getattr(self._local, "line", None)
        if line is not None:
            line.idle()

    def leave(self) -> None:
        """The calling thread ends."""
        line: Line | None = getattr(self._local, "line", None)
        if line is not None:
            del self._local.line, self._local.end

    def busy(self, least: float = 0.0) -> list[dict[str, Any]]:
        """What each thread is at now, those that are at it longest first.

        Args:
            least: seconds; shorter ones are left out.
        """
        now, found = clock(), []
        for line in list(self._lines):
            since = 0 if line.closed else line.since()
            if not since or now - since < least * 1e9:
                continue
            stack = write_out(take(current(line.thread.ident)))
            sleeping = line.thread.sleeps_in()
            found.append(
                {
                    "thread": row_name(line.cells, line.at),
                    "handler": line.handler,
                    "request_id": line.request_id,
                    "seconds": round((now - since) / 1e9, 3),
                    "at": label(stack[blamed(stack)]) if stack else "",
                    "in": label(stack[0]) if stack else "",
                    "waits": sleeping[0] if sleeping else "",
                }
            )
        return sorted(found, key=lambda each: -each["seconds"])
