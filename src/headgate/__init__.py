"""Headgate: your Flask code may block, your sockets never do.

Importing the package loads nothing else; each public name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headgate.base.errors import HeadgateError as HeadgateError
    from headgate.base.model import Backoff as Backoff
    from headgate.bulk.pool import pool as pool
    from headgate.declare.context import JobContext as JobContext
    from headgate.declare.handle import JobHandle as JobHandle
    from headgate.declare.socket import Socket as Socket
    from headgate.library import Headgate as Headgate
    from headgate.library import connect as connect
    from headgate.library import current_job as current_job

__version__ = "0.1.0"

_HOMES = {
    "Headgate": "headgate.library",
    "connect": "headgate.library",
    "current_job": "headgate.library",
    "Backoff": "headgate.base.model",
    "JobContext": "headgate.declare.context",
    "JobHandle": "headgate.declare.handle",
    "Socket": "headgate.declare.socket",
    "HeadgateError": "headgate.base.errors",
    "pool": "headgate.bulk.pool",
}

__all__ = [
    "Backoff",
    "Headgate",
    "HeadgateError",
    "JobContext",
    "JobHandle",
    "Socket",
    "connect",
    "current_job",
    "pool",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'headgate' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
