"""An RQ worker's process: `python -m headgate.roles.rq`, started by the supervisor, runs one ordinary `rq worker`."""

from __future__ import annotations

import signal
import socket

from headgate.config.settings import Settings
from headgate.roles.companion import Companion, Tool
from headgate.supervisor.child import Child, serve


def service(child: Child) -> Companion:
    """What the role runs."""
    return Companion(child, Tool("rq", arguments(child.settings, child.name), signal.SIGTERM))


def arguments(settings: Settings, name: str) -> list[str]:
    """What `rq` is called with.

    Args:
        settings: of this Headgate.
        name: of the process; on this machine alone it is unique.
    """
    url = (settings.rq_url or settings.broker).partition("?")[0]
    quiet = [] if settings.log_level == "debug" else ["--quiet"]
    worker_class = "headgate.roles.rq_worker.Telling"
    named = f"{socket.gethostname()}-{name}"
    return ["worker", "--url", url, "--name", named, "--worker-class", worker_class, *quiet, *settings.rq_queues]


if __name__ == "__main__":
    serve(service)
