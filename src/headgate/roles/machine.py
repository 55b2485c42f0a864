"""This machine among others: how its processes are called on an engine that many machines share."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec

import headgate
from headgate.base import marks
from headgate.base.errors import HeadgateError
from headgate.base.ports import Engine
from headgate.config.settings import Settings
from headgate.roles.choose import is_shared
from headgate.supervisor.child import Child

log = logging.getLogger(__name__)

Run = Callable[[Coroutine[Any, Any, Any]], Any]
"""Runs work on the engine's loop, without waiting for it."""


def machine(settings: Settings) -> str:
    """What the others call this Headgate: its host, and its folder there."""
    return f"{socket.gethostname()}:{settings.folder.root.resolve()}"


def worker_name(settings: Settings, name: str) -> str:
    """A job worker's name, unique among all that share its engine: process ids are so on one machine only."""
    return f"{socket.gethostname()}/{name}" if is_shared(settings.broker) else name


def member(child: Child) -> Callable[[], tuple[str, bytes]]:
    """Under which name a process is listed among those of all machines, and what it says of itself."""
    settings = child.settings
    name = f"{machine(settings)}\0{child.name}"
    facts: dict[str, Any] = {
        "machine": machine(settings),
        "process": child.name,
        "role": child.role,
        "lane": child.lane,
        "pid": os.getpid(),
        "version": headgate.__version__,
        "generation": child.generation,
        "app": settings.app,
    }
    if child.role == "jobs":
        facts["queues"] = list(settings.queues)
    packed = msgspec.msgpack.encode(facts)
    return lambda: (name, packed)


class Deaths:
    """Brings the jobs of dead workers of this machine back to their queues, where no broker process does it.

    Every process here that hears of the death says it to the engine; the first one counts.

    Args:
        settings: of this Headgate.
        engine: shared by many machines.
        run: runs work on its loop.
    """

    def __init__(self, settings: Settings, engine: Engine, run: Run) -> None:
        self._settings = settings
        self._engine = engine
        self._run = run

    def heard(self, data: Mapping[str, Any]) -> None:
        """The supervisor's notice of a process that has ended."""
        if data.get("role") == "jobs":
            self._run(self._abandon(str(data["name"])))

    def before(self, child: Child) -> None:
        """At boot: those that a supervisor before this one left behind, and the one whose place this process takes."""
        names = {child.replaces} if child.replaces else set()
        if child.replaces is None and child.generation == 1:
            names |= set(_orphans(self._settings.folder.marks))
        for name in names:
            self._run(self._abandon(name))

    async def _abandon(self, name: str) -> None:
        folder = self._settings.folder.marks
        try:
            back = await self._engine.source.abandon(worker_name(self._settings, name), marks.read(folder, name))
        except HeadgateError as exc:
            log.warning("the jobs of %s, which is dead, come back only when their leases end: %s", name, exc)
            return
        marks.forget(folder, name)
        if back:
            log.info("%d jobs of %s, which is dead, are back in their queues", back, name)


def on_loop(loop: asyncio.AbstractEventLoop) -> Run:
    """Work on a loop that runs in another thread."""
    return lambda work: asyncio.run_coroutine_threadsafe(work, loop)


class Here:
    """Work on the loop that calls."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lock = threading.Lock()

    def __call__(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        with self._lock:
            self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _orphans(folder: Path) -> list[str]:
    """Job workers that left a mark and are no more: their names end with their process ids."""
    if not folder.is_dir():
        return []
    return [name for name in (unquote(path.name) for path in folder.iterdir()) if not _lives(name)]


def _lives(name: str) -> bool:
    digits = name.rpartition("-")[2]
    return not digits.isdigit() or Path(f"/proc/{digits}").exists() or not Path("/proc/self").exists()
