"""A request that runs as a job (`Prefer: respond-async`, RFC 7240 §4.1): what its job is called and what it leaves."""

from __future__ import annotations

from typing import Final

import msgspec

FUNCTION: Final = "headgate:request"
"""The job function that runs requests."""


class StoredResponse(msgspec.Struct, frozen=True, array_like=True):
    """The response as the view gave it: the result of such a job, told at the job's address."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
