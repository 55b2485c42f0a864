"""What each handler thread runs and since when, for the watch; set once, when the worker starts."""

from __future__ import annotations

from typing import Any

from headgate.watch.process import Watch
from headgate.watch.threads import HandlerThreads

_threads: HandlerThreads | None = None


def use(watch: Watch | None) -> None:
    """Note handlers from now on for this watch; None: no more."""
    global _threads
    _threads = None if watch is None else HandlerThreads(watch)


def begin(handler: str) -> None:
    """The calling thread begins a handler, or a turn of a loop."""
    if _threads is not None:
        _threads.begin(handler)


def end() -> None:
    """The calling thread has ended it."""
    if _threads is not None:
        _threads.end()


def leave() -> None:
    """The calling thread ends."""
    if _threads is not None:
        _threads.leave()


def busy(least: float) -> list[dict[str, Any]]:
    """What has run for `least` seconds and more, the longest first; for `headgate status --threads`."""
    return [] if _threads is None else _threads.busy(least)
