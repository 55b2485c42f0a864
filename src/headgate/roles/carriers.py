"""Who else runs jobs: RQ and Celery, where they are installed and named."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from headgate.config.settings import Settings

Send = Callable[[Any], None]

_SINGLE: Final = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss"}
"""Schemes of single servers, and what redis-py calls them."""


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

    RQ knows single servers alone, and Valkey by the name of Redis.

    Args:
        url: of the engine.
    """
    scheme, _, rest = (settings.rq_url or url).partition("://")
    if scheme not in _SINGLE:
        return settings.rq_url
    where, _, query = rest.partition("?")
    return f"{_SINGLE[scheme]}://{where}{_theirs(query)}"


def _theirs(query: str) -> str:
    """Of a URL's options those of redis-py."""
    if not query:
        return ""
    from headgate.drivers.redis.address import OWN

    kept = [(key, value) for key, value in parse_qsl(query) if key not in OWN]
    return f"?{urlencode(kept)}" if kept else ""


def unreachable(url: str, settings: Settings) -> dict[str, str]:
    """Carriers to which no process with these settings can hand a job, and why.

    Args:
        url: of the engine.
    """
    found: dict[str, str] = {}
    if not rq_url(url, settings):
        scheme = url.partition("://")[0]
        found["rq"] = f"RQ does not know a Redis at {scheme}://; set rq_url to the redis:// on which its workers work"
    if not settings.celery_app:
        found["celery"] = 'the Celery app is not known; set celery_app to it, as "module:attribute"'
    return found


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
