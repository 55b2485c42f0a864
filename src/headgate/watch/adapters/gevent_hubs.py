"""gevent: its loop is C code, and a callback per turn would cost more than all of our stamps. It is asked instead."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from headgate.watch.line import PingedLine
from headgate.watch.process import Watch


def patch(module: ModuleType, watch: Watch) -> None:
    """Watch each hub of `gevent.hub` from its start to its end."""
    kind: Any = module.Hub
    original = kind.run
    if getattr(original, "headgate_original", None) is not None:
        return

    def run(self: Any) -> Any:
        leave = enter(self, watch)
        try:
            return original(self)
        finally:
            leave()

    run.headgate_original = original  # type: ignore[attr-defined]
    kind.run = run
    watch.undo.append(lambda: setattr(kind, "run", original))


def enter(hub: Any, watch: Watch) -> Callable[[], None]:
    """Watch a hub on this thread from now on; returns what ends it."""
    watcher = hub.loop.async_(ref=False)
    line: PingedLine | None = watch.pinged_line("gevent", watcher.send)
    if line is None:
        return _nothing
    line.ready = lambda: int(hub.loop.pendingcnt)
    with contextlib.suppress(AttributeError, OSError, TypeError):
        line.poller = int(hub.loop.fileno())
    watcher.start(line.pong)

    def leave() -> None:
        line.leave()
        watcher.stop()

    return leave


def _nothing() -> None:
    """The board is full: the hub goes unwatched."""
