"""Exit codes that one process gives itself and another reads."""

from __future__ import annotations

from typing import Final

JOB_KILLED: Final = 86
"""A job worker that ended itself because its job would not end, past its timeout or its cancellation."""
