"""Celery as a carrier: ordinary Celery messages, each of which makes a Celery worker run one Headgate job."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from typing import Any, Final

from celery import Celery

from headgate.base.errors import ConfigError
from headgate.drivers.redis.outgoing import Send, Ticket

log = logging.getLogger(__name__)

TASK: Final = "headgate.run"
"""The name of the task that runs a Headgate job."""


def find(address: str) -> Celery:
    """The Celery app of an address, "module:attribute".

    Raises:
        ConfigError: there is none.
    """
    module, _, attribute = address.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        app: Any = importlib.import_module(module)
        for part in (attribute or "app").split("."):
            app = getattr(app, part)
    except (ImportError, AttributeError) as exc:
        raise ConfigError(f'celery_app = "{address}" cannot be found: {exc}') from exc
    if not isinstance(app, Celery):
        raise ConfigError(f'celery_app = "{address}" is a {type(app).__name__}, not a Celery app')
    return app


def sender(address: str) -> Send:
    """What hands tickets to Celery.

    Args:
        address: of the Celery app.
    """
    found: list[Celery] = []

    def send(ticket: Ticket) -> None:
        # Not before it is needed: the Celery app's module may import the one that is being imported now.
        app = found[0] if found else find(address)
        found[:] = [app]
        # Retries and results are Headgate's: Celery must not add its own.
        app.send_task(
            TASK,
            args=(ticket.job,),
            queue=ticket.queue,
            task_id=ticket.name,
            ignore_result=True,
            retry=False,
            argsrepr=f"{ticket.function} ({ticket.job})",
        )

    return send


def warnings(app: Celery, timeout: float | None) -> list[str]:
    """What of a Celery app's settings does harm to a ticket, with the numbers.

    Args:
        timeout: of the longest job, in seconds; None for no bound.
    """
    conf, said = app.conf, list[str]()
    options = conf.broker_transport_options or {}
    visible = float(options.get("visibility_timeout", 3600))
    redis = str(conf.broker_url or "").startswith(("redis", "rediss", "sentinel"))
    if conf.task_acks_late and redis and (timeout is None or timeout >= visible):
        length = "no timeout" if timeout is None else f"a timeout of {timeout:g} s"
        said.append(
            f"task_acks_late is set and the visibility timeout is {visible:g} s, while a job has {length}: Celery "
            "delivers its ticket again meanwhile. That is harmless (the second finds the job running), but occupies a "
            f"worker for a moment; raise broker_transport_options visibility_timeout above {timeout or visible:g}"
        )
    prefetch = int(conf.worker_prefetch_multiplier)
    if prefetch != 1:
        said.append(
            f"worker_prefetch_multiplier is {prefetch}: each worker process reserves {prefetch or 'all'} tickets "
            "ahead, which wait behind a long job while other workers idle. Set it to 1"
        )
    limit = conf.task_time_limit
    if limit and (timeout is None or timeout > float(limit)):
        said.append(
            f"task_time_limit is {limit:g} s, and a job may run for "
            f"{'ever' if timeout is None else f'{timeout:g} s'}: Celery kills its process then, and the job counts a "
            "lost worker. Bound jobs by their own timeout instead"
        )
    return said
