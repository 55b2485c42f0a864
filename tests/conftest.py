"""What every test shares. The fixtures that start real servers live in tests/support."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Async tests (marked `anyio`) run on asyncio, the only loop that Headgate has."""
    return "asyncio"
