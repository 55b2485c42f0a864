"""Servers that run handlers on threads, or one at a time: each handler is a stretch of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from headgate.watch.process import Watch
from headgate.watch.threads import HandlerThreads


def patch_gunicorn_sync(module: ModuleType, watch: Watch) -> None:
    """gunicorn's sync worker."""
    _around(module.SyncWorker, "handle_request", watch)


def patch_gunicorn_threads(module: ModuleType, watch: Watch) -> None:
    """gunicorn's gthread worker."""
    _around(module.ThreadWorker, "handle_request", watch)


def patch_werkzeug(module: ModuleType, watch: Watch) -> None:
    """`flask run`."""
    _around(module.WSGIRequestHandler, "run_wsgi", watch)


def patch_celery(module: ModuleType, watch: Watch) -> None:
    """Celery's tasks, in whatever pool."""
    original = module.build_tracer
    threads = HandlerThreads(watch)

    @functools.wraps(original)
    def build_tracer(name: str, *args: Any, **kwargs: Any) -> Any:
        return _stretch(original(name, *args, **kwargs), threads, f"task {name}")

    module.build_tracer = build_tracer  # type: ignore[attr-defined]
    watch.undo.append(lambda: setattr(module, "build_tracer", original))


def _around(kind: Any, name: str, watch: Watch) -> None:
    original = getattr(kind, name)
    setattr(kind, name, functools.wraps(original)(_stretch(original, HandlerThreads(watch), "")))
    watch.undo.append(lambda: setattr(kind, name, original))


def _stretch(function: Callable[..., Any], threads: HandlerThreads, handler: str) -> Callable[..., Any]:
    def stretch(*args: Any, **kwargs: Any) -> Any:
        threads.begin(handler)
        try:
            return function(*args, **kwargs)
        finally:
            threads.end()

    return stretch
