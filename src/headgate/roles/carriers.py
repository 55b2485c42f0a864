"""Who else runs jobs: RQ and Celery, where they are installed and named."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from headgate.config.settings import Settings

Send = Callable[[Any], None]


def senders(url: str, settings: Settings) -> dict[str, Send]:
    """What hands tickets to each carrier that this process can reach.

    Args:
        url: of the engine.
    """
    found: dict[str, Send] = {}
    of_rq = rq_url(url, settings)
    if of_rq and find_spec("rq") is not None:
        found["rq"] = _Later(lambda: _rq(of_rq, settings.result_ttl))
    if settings.celery_app and find_spec("celery") is not None:
        found["celery"] = _Later(lambda: _celery(settings.celery_app))
    return found


def rq_url(url: str, settings: Settings) -> str:
    """The URL of the Redis that RQ works on: the engine's, unless the setting names another; "" if it is not known.

    Args:
        url: of the engine.
    """
    found = settings.rq_url or (url if url.startswith(("redis://", "rediss://")) else "")
    return found.partition("?")[0]


class _Later:
    """A sender that is made when it is first needed: an app that carries nothing imports no carrier.

    Args:
        make: imports and makes it.
    """

    def __init__(self, make: Callable[[], Send]) -> None:
        self._make = make
        self._send: Send | None = None

    def __call__(self, ticket: Any) -> None:
        self._send = self._send or self._make()
        self._send(ticket)


def _rq(url: str, kept: float) -> Send:
    from headgate.drivers import rq

    return rq.sender(url, kept)


def _celery(address: str) -> Send:
    from headgate.drivers import celery

    return celery.sender(address)
