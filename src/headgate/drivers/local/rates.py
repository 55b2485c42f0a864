"""What a queue allows right now: pause, slots, rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from headgate.base.clock import Clock
from headgate.drivers.local.rows import Row
from headgate.drivers.local.schema import RUNNING
from headgate.drivers.local.store import Store

UNBOUNDED: Final = 1 << 30


class Rates:
    """Token buckets of the queues that have a rate. Kept in memory: after a restart each begins empty."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tokens: dict[str, tuple[float, float]] = {}
        self._served: dict[str, float] = {}
        """Jobs started of each queue divided by its weight, since the queues last were weighed against each other."""

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

    def turns(self, store: Store, rows: Sequence[Row]) -> Mapping[int, float]:
        """When it is each job's turn (by `seq`), among queues that have weights: stride scheduling.

        A queue that had nothing to do does not save up turns for later. Without weights all are equal, and the
        order of acceptance decides.
        """
        weights = {row.queue: rules.weight if (rules := store.rules_of(row.queue)) else 1.0 for row in rows}
        if all(weight == 1.0 for weight in weights.values()):
            return {row.seq: 0.0 for row in rows}
        least = min((self._served[queue] for queue in weights if queue in self._served), default=0.0)
        at = {queue: max(least, self._served.get(queue, least)) for queue in weights}
        self._served = dict(at)
        turns = {}
        for row in rows:
            at[row.queue] += 1.0 / weights[row.queue]
            turns[row.seq] = at[row.queue]
        return turns

    def started(self, store: Store, queue: str) -> None:
        """A job of the queue has been claimed."""
        if queue in self._served:
            rules = store.rules_of(queue)
            self._served[queue] += 1.0 / (rules.weight if rules else 1.0)
        if queue in self._tokens:
            tokens, at = self._tokens[queue]
            self._tokens[queue] = (tokens - 1.0, at)

    def _refill(self, queue: str, rate: float) -> float:
        now = self._clock.monotonic()
        tokens, at = self._tokens.get(queue, (1.0, now))
        tokens = min(max(1.0, rate), tokens + (now - at) * rate)
        self._tokens[queue] = (tokens, now)
        return tokens + 1e-9
