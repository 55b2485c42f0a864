"""A Celery worker's process: `python -m headgate.roles.celery`, started by the supervisor, runs `celery … worker`."""

from __future__ import annotations

import signal

from headgate.config.settings import Settings
from headgate.roles.companion import Companion, Tool
from headgate.supervisor.child import Child, serve


def service(child: Child) -> Companion:
    """What the role runs."""
    return Companion(child, Tool("celery", arguments(child.settings, child.name), signal.SIGQUIT))


def arguments(settings: Settings, name: str) -> list[str]:
    """What `celery` is called with: one worker with a pool of `celery_workers` processes."""
    module, _, attribute = settings.celery_app.partition(":")
    return [
        *("--app", f"{module}:{attribute or 'app'}"),
        "worker",
        *("--hostname", f"{name}@%h"),
        *("--queues", ",".join(settings.celery_queues)),
        *("--concurrency", str(settings.celery_workers)),
        *("--loglevel", settings.log_level if settings.log_level != "info" else "warning"),
    ]


if __name__ == "__main__":
    serve(service)
