"""Starts the watch of this process: `install` for code of ours, `from_environment` for `headgate watch run`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from headgate.watch.adapters import asyncio_loops, eventlet_hubs, gevent_hubs, servers
from headgate.watch.hooks import AfterImport
from headgate.watch.native import say
from headgate.watch.process import Options, Watch

FOLDER: Final = "HEADGATE_WATCHED_FOLDER"
THRESHOLD: Final = "HEADGATE_WATCHED_THRESHOLD"
HANDLER_THRESHOLD: Final = "HEADGATE_WATCHED_HANDLER_THRESHOLD"
OBSERVER: Final = "HEADGATE_WATCHED_OBSERVER"
QUIET: Final = "HEADGATE_WATCHED_QUIET"

_current: Watch | None = None


def install(options: Options) -> Watch:
    """Watch every loop and hub that starts in this process from now on.

    One watch per process: a second call gives the first one's.
    """
    global _current
    if _current is not None and _current.active:
        return _current
    watch = Watch(options)
    finder = AfterImport(
        {
            "asyncio.base_events": partial(asyncio_loops.patch, watch=watch),
            "uvloop": partial(asyncio_loops.patch_uvloop, watch=watch),
            "eventlet.hubs.hub": partial(eventlet_hubs.patch, watch=watch),
            "gevent.hub": partial(gevent_hubs.patch, watch=watch),
            "gunicorn.workers.sync": partial(servers.patch_gunicorn_sync, watch=watch),
            "gunicorn.workers.gthread": partial(servers.patch_gunicorn_threads, watch=watch),
            "werkzeug.serving": partial(servers.patch_werkzeug, watch=watch),
            "celery.app.trace": partial(servers.patch_celery, watch=watch),
        }
    )
    finder.install()
    watch.undo.append(finder.remove)
    _current = watch
    return watch


def current() -> Watch | None:
    """The watch of this process, if it has one."""
    return _current if _current is not None and _current.active else None


def from_environment(environ: Mapping[str, str] = os.environ) -> Watch | None:
    """What `headgate watch run` asks of each Python process below it."""
    folder = environ.get(FOLDER)
    if not folder:
        return None
    options = Options(
        folder=Path(folder),
        limit=_seconds(environ, THRESHOLD, 0.1),
        handler_limit=_seconds(environ, HANDLER_THRESHOLD, 1.0),
        log=None if environ.get(QUIET) else _line,
        observer=int(environ.get(OBSERVER, "0")) if environ.get(OBSERVER, "0").isdigit() else 0,
    )
    return install(options)


def _line(text: str) -> None:
    say(f"headgate watch [{os.getpid()}]: {text}")


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    try:
        return max(0.005, float(environ[name]))
    except (KeyError, ValueError):
        return default
