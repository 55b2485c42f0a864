"""Signed, expiring capability URLs: who holds the token may read one job or stream, and nothing else.

Gateways check what app workers and clients sign; both have the same secret (`D/secret` by default).
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from itsdangerous import BadData, URLSafeTimedSerializer

from headgate.base.clock import Clock, SystemClock

JOB: Final = "job"
STREAM: Final = "stream"
"""May read a stream …"""
STREAM_WRITE: Final = "stream-write"
"""… and make it, append to it, end it and delete it."""
_SALT: Final = "headgate.url"
_LONGEST: Final = 1024
"""Characters; a longer token is refused unread."""


class Tokens:
    """Signs and checks names.

    Args:
        secret: shared by all processes of one installation.
        clock: for the expiry.
    """

    def __init__(self, secret: str, clock: Clock | None = None) -> None:
        self._signer = URLSafeTimedSerializer(secret, salt=_SALT)
        self._clock = clock or SystemClock()

    def sign(self, kind: str, name: str, ttl: float) -> str:
        """A token for the thing `name` of a kind (`job`, `stream`), good for `ttl` seconds."""
        token: str = self._signer.dumps([kind, name, int(self._clock.now() + ttl)])
        return token

    def allows(self, token: str, kind: str, name: str) -> bool:
        """Whether the token is ours, has not expired, and is for exactly this thing."""
        if not token or len(token) > _LONGEST:
            return False
        try:
            said = self._signer.loads(token)
        except BadData:
            return False
        if not isinstance(said, list) or len(said) != 3 or said[:2] != [kind, name]:
            return False
        expires = said[2]
        return isinstance(expires, int) and expires > self._clock.now()


def job_url(tokens: Tokens, job_id: str, ttl: float, prefix: str = "") -> str:
    """The signed path of a job's state; `prefix` is the path that the installation is mounted under."""
    return f"{prefix}/-/jobs/{job_id}?token={tokens.sign('job', job_id, ttl)}"


def stream_url(tokens: Tokens, stream: str, ttl: float, prefix: str = "", *, write: bool = False) -> str:
    """The signed path of a stream, for reading or for writing too."""
    token = tokens.sign(STREAM_WRITE if write else STREAM, stream, ttl)
    return f"{prefix}/-/streams/{quote(stream)}?token={token}"
