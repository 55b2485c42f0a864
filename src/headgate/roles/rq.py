"""An RQ worker's process: `python -m headgate.roles.rq`, started by the supervisor, runs one ordinary `rq worker`."""

from __future__ import annotations

import secrets
import signal
import socket

from headgate.config.settings import Settings
from headgate.roles.carriers import rq_url
from headgate.roles.companion import Companion, Tool
from headgate.supervisor.child import Child, serve


def service(child: Child) -> Companion:
    """What the role runs."""
    settings = child.settings
    # Its address may hold a password, which is not for everybody's `ps`.
    env = {"RQ_REDIS_URL": rq_url(settings.broker, settings)}
    return Companion(child, Tool("rq", arguments(settings, child.name), signal.SIGTERM, env))


def arguments(settings: Settings, name: str) -> list[str]:
    """What `rq` is called with.

    Args:
        settings: of this Headgate.
        name: of the process. A container that is started anew may repeat it, and RQ refuses a name that it still lists.
    """
    quiet = [] if settings.log_level == "debug" else ["--quiet"]
    worker_class = "headgate.roles.rq_worker.Telling"
    named = f"{socket.gethostname()}-{name}-{secrets.token_hex(3)}"
    return ["worker", "--name", named, "--worker-class", worker_class, *quiet, *settings.rq_queues]


if __name__ == "__main__":
    serve(service)
