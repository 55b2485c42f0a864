"""The watch of Headgate's own processes: each watches itself, and the supervisor looks at all of them from outside."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

from headgate.config.settings import Settings
from headgate.supervisor.channel import Brief
from headgate.watch.install import install
from headgate.watch.model import Incident
from headgate.watch.observer import Observer
from headgate.watch.process import Options, Watch
from headgate.watch.wording import line

log = logging.getLogger("headgate.watch")


def begin(brief: Brief) -> Watch | None:
    """In a child, before its loop starts: watch it from now on, if the setting says so."""
    settings = brief.settings
    if not settings.watch:
        return None
    folder = settings.folder.watch
    with contextlib.suppress(OSError):  # the watch goes on without: only nobody sees it from outside
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = "-".join([brief.role, *([brief.lane] if brief.lane else []), str(brief.index)])
    watch = install(
        Options(
            folder=folder,
            name=place,
            limit=settings.watch_threshold,
            handler_limit=settings.watch_handler_threshold,
            log=log.warning,
            observer=brief.supervisor,
        )
    )
    watch.starting()
    return watch


def serves(watch: Watch | None) -> None:
    """The child is ready: from now on a stall is somebody's."""
    if watch is not None:
        watch.serves()


def facts(watch: Watch | None) -> dict[str, Any]:
    """What a child's report says of its watch."""
    return {} if watch is None else {"watch": watch.facts()}


@contextlib.contextmanager
def observed(settings: Settings) -> Iterator[Observer | None]:
    """In the supervisor: look at all children from outside."""
    if not settings.watch:
        yield None
        return
    folder = settings.folder.watch
    _clear(settings)
    observer = Observer(folder, tell=_died)
    observer.start()
    try:
        yield observer
    finally:
        observer.stop()


def _died(incident: Incident) -> None:
    log.error("%s (pid %d) died while %s", incident.process, incident.pid, line(incident))


def _clear(settings: Settings) -> None:
    """Boards of a supervisor that was killed are nobody's."""
    folder = settings.folder.watch
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for entry in os.scandir(folder):
            if not entry.name.endswith(".jsonl"):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)
