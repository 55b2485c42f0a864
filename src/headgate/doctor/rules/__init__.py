"""The rules, by subject. Importing this package knows them all."""

from __future__ import annotations

from headgate.doctor.rules import (
    celery,
    code,
    database,
    greenlets,
    gunicorn,
    memory,
    nginx,
    redis,
    sockets,
    system,
    units,
)
from headgate.doctor.rules.registry import RULES

__all__ = [
    "RULES",
    "celery",
    "code",
    "database",
    "greenlets",
    "gunicorn",
    "memory",
    "nginx",
    "redis",
    "sockets",
    "system",
    "units",
]
