"""Background tasks that an app means to run once, though several processes run the app.

An app written for one process starts its ticker when it is imported, or when the first client connects and a global
variable says that it does not run yet. In several processes that would start it several times. So a task that takes
no arguments and is started there runs in one process at a time: the one that has the lock. When that process ends,
another goes on.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

log = logging.getLogger("headgate.app")

folder: Path | None = None
"""Where the locks are; None: every task runs."""
spectator = False
"""This process never runs such tasks: it is no app worker."""
importing = False
"""The app is being imported."""
_running: set[str] = set()
_guard = threading.Lock()


def name_of(target: Callable[..., Any]) -> str:
    """What a function is known by in all processes; empty for one that has no name of its own."""
    module, name = getattr(target, "__module__", ""), getattr(target, "__qualname__", "")
    return f"{module}:{name}" if module and name and "<" not in name else ""


def wrap(target: Callable[..., Any]) -> Callable[..., Any]:
    """The same task, which waits until no other process runs it.

    A second start in one process shows that the app means to run it more often: that one runs at once.
    """
    name = name_of(target)
    if not name or folder is None:
        return target
    with _guard:
        if name in _running:
            return target
        _running.add(name)
    if spectator:
        return _nothing

    def alone(*args: Any, **kwargs: Any) -> Any:
        lock = _lock(folder / f"task.{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock", name)
        try:
            return target(*args, **kwargs)
        finally:
            with _guard:
                _running.discard(name)
            os.close(lock)

    return alone


def _lock(path: Path, name: str) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("background task %s runs in another app worker; this one takes over when that one ends", name)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _nothing(*_args: Any, **_kwargs: Any) -> None:
    """In a process that leaves the task to the app workers."""
