"""Rates and counts that a client can run into. Pure: time is given."""

from __future__ import annotations

from typing import Final

BOUNDS: Final = (
    "max_connections",
    "handshakes",
    "handshake_rate",
    "sockets_per_address",
    "sockets_per_key",
    "message_rate",
    "max_message",
    "inbox",
    "outbox_bytes",
    "outbox_age",
    "queue_length",
    "queue_age",
    "slow_queue_age",
    "max_target",
    "max_head",
    "max_headers",
    "max_body",
    "head_timeout",
    "body_timeout",
    "body_rate",
    "send_timeout",
)
"""The settings whose bounds clients can run into; how often each was reached is the metric `headgate_limited_total`."""


class Bucket:
    """A token bucket: `rate` per second on the long run, `burst` at once.

    Args:
        rate: tokens per second; 0 means that there is no bound.
        burst: tokens at most; default two seconds' worth.
    """

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float = 0.0) -> None:
        self._rate = rate
        self._burst = burst or max(1.0, 2 * rate)
        self._tokens = self._burst
        self._at = 0.0

    def take(self, now: float) -> float:
        """Take one token: 0.0 when there was one, else the seconds until there is."""
        if not self._rate:
            return 0.0
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) if self._at else self._burst
        self._at = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._rate


class PerKey:
    """How many sockets each key holds: a client address, or a key of the app's choice.

    Args:
        most: per key; 0 means that there is no bound.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._held)

    def take(self, key: str) -> bool:
        """Count one more; False (and nothing counted) at the bound. What has no key is not counted."""
        if not self._most or not key:
            return True
        held = self._held.get(key, 0)
        if held >= self._most:
            return False
        self._held[key] = held + 1
        return True

    def give(self, key: str) -> None:
        """One fewer."""
        left = self._held.get(key, 0) - 1
        if left > 0:
            self._held[key] = left
        else:
            self._held.pop(key, None)
