"""eventlet: the hub's poll is wrapped from the hub's start. Its asyncio hub is an asyncio loop, and watched as one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from headgate.watch.adapters.asyncio_loops import stamped
from headgate.watch.process import Watch


def patch(module: ModuleType, watch: Watch) -> None:
    """Watch each hub of `eventlet.hubs.hub` from its start to its end."""
    kind: Any = module.BaseHub
    original = kind.run
    if getattr(original, "headgate_original", None) is not None:
        return

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        leave = enter(self, watch)
        try:
            return original(self, *args, **kwargs)
        finally:
            leave()

    run.headgate_original = original  # type: ignore[attr-defined]
    kind.run = run
    watch.undo.append(lambda: setattr(kind, "run", original))


def enter(hub: Any, watch: Watch) -> Callable[[], None]:
    """Watch a hub on this thread from now on; returns what ends it."""
    if not hasattr(hub, "do_poll"):
        return _nothing
    line = watch.line("eventlet")
    if line is None:
        return _nothing
    line.ready = lambda: sum(1 for due, _ in hub.timers[:200] if due <= hub.clock())
    with contextlib.suppress(AttributeError, OSError):
        line.poller = hub.poll.fileno()
    wait, listeners, read, write = hub.wait, hub.listeners, hub.READ, hub.WRITE
    hub.do_poll, sleeping = stamped(line, hub.do_poll, wait)

    def waiting(seconds: Any = None) -> Any:
        if listeners[read] or listeners[write]:
            return wait(seconds)
        return sleeping(seconds)  # without a socket to wait for the hub does not poll, it sleeps

    hub.wait = waiting

    def leave() -> None:
        hub.__dict__.pop("do_poll", None)
        hub.__dict__.pop("wait", None)
        line.leave()

    return leave


def _nothing() -> None:
    """Nothing to end."""
