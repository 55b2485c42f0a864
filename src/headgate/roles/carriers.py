"""Who else runs jobs: RQ and Celery, where they are installed and named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from headgate.config.settings import Settings


def senders(url: str, settings: Settings) -> dict[str, Callable[[Sequence[Any]], None]]:
    """What hands tickets to each carrier that this process can reach.

    Args:
        url: of the engine; RQ works on the same server unless `rq_url` names another.
    """
    found: dict[str, Callable[[Sequence[Any]], None]] = {}
    rq_url = settings.rq_url or (url if url.startswith(("redis://", "rediss://")) else "")
    if rq_url and find_spec("rq") is not None:
        from headgate.drivers import rq

        found["rq"] = rq.sender(rq_url.partition("?")[0], settings.result_ttl)
    if settings.celery_app and find_spec("celery") is not None:
        from headgate.drivers import celery

        found["celery"] = celery.sender(settings.celery_app)
    return found
