"""What every test shares: the fixtures of tests/support, made known to pytest here."""

from __future__ import annotations

import pytest

from tests.support.fixtures import (
    chromium,
    headgate_server,
    nginx_server,
    page,
    postgres,
    postgres_url,
    pytest_runtest_makereport,
    redis_process,
    redis_server,
    redis_url,
    workdir,
)
from tests.support.folders import remove_all

__all__ = [
    "anyio_backend",
    "chromium",
    "headgate_server",
    "nginx_server",
    "page",
    "postgres",
    "postgres_url",
    "pytest_runtest_makereport",
    "redis_process",
    "redis_server",
    "redis_url",
    "workdir",
]


@pytest.fixture
def anyio_backend() -> str:
    """Async tests (marked `anyio`) run on asyncio, the only loop that Headgate has."""
    return "asyncio"


def pytest_sessionfinish() -> None:
    """Leave nothing behind."""
    remove_all()
