"""asyncio: the selector's `select` is wrapped while the loop runs. uvloop, and loops without a selector, are asked."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from headgate.watch.line import Line, PingedLine
from headgate.watch.native import SECOND, moment, nanoseconds
from headgate.watch.process import Watch


def patch(module: ModuleType, watch: Watch) -> None:
    """Watch each loop of `asyncio.base_events` from its start to its end."""
    _wrap_run(module.BaseEventLoop, watch)


def patch_uvloop(module: ModuleType, watch: Watch) -> None:
    """The same for uvloop's."""
    _wrap_run(module.Loop, watch)


def _wrap_run(kind: Any, watch: Watch) -> None:
    original = kind.run_forever
    if getattr(original, "headgate_original", None) is not None:
        return

    def run_forever(self: Any) -> Any:
        leave = enter(self, watch, sys._getframe())
        try:
            return original(self)
        finally:
            leave()

    run_forever.headgate_original = original  # type: ignore[attr-defined]
    kind.run_forever = run_forever
    watch.undo.append(lambda: setattr(kind, "run_forever", original))


def enter(loop: Any, watch: Watch, base: Any = None) -> Callable[[], None]:
    """Watch a loop on this thread from now on; returns what ends it."""
    selector = getattr(loop, "_selector", None)
    if hasattr(getattr(loop, "_run_once", None), "__code__") and hasattr(selector, "__dict__"):
        return _stamp(loop, selector, watch)
    return _ask(loop, watch, base)


def _stamp(loop: Any, selector: Any, watch: Watch) -> Callable[[], None]:
    line = watch.line("asyncio")
    if line is None:
        return _nothing
    line.ready = lambda: len(loop._ready)
    with contextlib.suppress(AttributeError, OSError):
        line.poller = selector.fileno()
    (selector.select,) = stamped(line, selector.select)

    def leave() -> None:
        selector.__dict__.pop("select", None)
        line.leave()

    return leave


def stamped(line: Line, *polls: Callable[..., Any]) -> list[Callable[..., Any]]:
    """The polls of a loop or hub, with stamps around each: two readings of the clock and two stores a turn."""
    stamps, at, limit, ended, time = line.stamps, line.at, line.limit / SECOND, line.ended, moment
    stamps[at] = begin = time()

    def rebind() -> None:
        nonlocal stamps, at, begin
        stamps, at, begin = line.stamps, line.at, math.inf  # whatever runs in the child now is no turn of this loop

    def around(poll: Callable[..., Any]) -> Callable[..., Any]:
        def stamp(timeout: Any = None) -> Any:
            nonlocal begin
            now = time()
            if now - begin > limit:
                ended.append((nanoseconds(begin), nanoseconds(now)))
            stamps[at] = 0.0
            try:
                return poll(timeout)
            finally:
                stamps[at] = begin = time()

        return stamp

    line.rebinds.append(rebind)
    return [around(poll) for poll in polls]


def _ask(loop: Any, watch: Watch, base: Any) -> Callable[[], None]:
    line: PingedLine | None = None

    def send() -> None:
        if line is not None:
            loop.call_soon_threadsafe(line.pong)

    line = watch.pinged_line("uvloop", send)
    if line is None:
        return _nothing
    line.base = base
    return line.leave


def _nothing() -> None:
    """The board is full: the loop goes unwatched."""
