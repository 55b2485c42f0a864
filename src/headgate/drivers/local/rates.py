"""What a queue allows right now: pause, slots, rate."""

from __future__ import annotations

import math
from typing import Final

from headgate.base.clock import Clock
from headgate.drivers.local.schema import RUNNING
from headgate.drivers.local.store import Store

UNBOUNDED: Final = 1 << 30


class Rates:
    """Token buckets of the queues that have a rate. Kept in memory: after a restart each begins empty."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tokens: dict[str, tuple[float, float]] = {}

    def allowance(self, store: Store, queue: str) -> int:
        """How many jobs of the queue may be started now."""
        rules = store.rules_of(queue)
        if rules is None:
            return UNBOUNDED
        if rules.paused:
            return 0
        allowed = UNBOUNDED
        if rules.slots is not None:
            allowed = min(allowed, rules.slots - store.count(queue, RUNNING))
        if rules.rate is not None:
            allowed = min(allowed, math.floor(self._refill(queue, rules.rate)))
            if allowed == 0:
                store.changes.falls_due(store.now + 1.0 / rules.rate)
        return allowed

    def started(self, queue: str) -> None:
        if queue in self._tokens:
            tokens, at = self._tokens[queue]
            self._tokens[queue] = (tokens - 1.0, at)

    def _refill(self, queue: str, rate: float) -> float:
        now = self._clock.monotonic()
        tokens, at = self._tokens.get(queue, (1.0, now))
        tokens = min(max(1.0, rate), tokens + (now - at) * rate)
        self._tokens[queue] = (tokens, now)
        return tokens + 1e-9
