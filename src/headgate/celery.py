"""For a Celery app whose workers are to run Headgate jobs: `from headgate.celery import install`."""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.signals import worker_ready

from headgate.drivers.celery import TASK, log, warnings
from headgate.roles.carried import run


def install(app: Celery, *, timeout: float | None = None) -> None:
    """Let the workers of a Celery app run the jobs of Headgate that are declared with `engine="celery"`.

    Call it where the app is made. The workers need HEADGATE_BROKER, or a headgate.toml in their folder.

    Args:
        timeout: of the longest such job, in seconds: what the app's own limits are checked against.
    """

    def ticket(job_id: str) -> Any:
        return run(job_id, "celery", None)

    # Acknowledged before it runs: the lease finds a job whose worker is killed, and much sooner.
    app.task(ticket, name=TASK, acks_late=False, ignore_result=True, max_retries=0)

    def check(**_: Any) -> None:
        for said in warnings(app, timeout):
            log.warning("%s", said)

    worker_ready.connect(check, weak=False)
