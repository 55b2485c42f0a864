"""Which lane a handler belongs to, learned from its run times. Pure: no clock, no I/O.

A handler begins unproven, in the slow lane. It is proven fast after a streak of `PROOF` runs within the
limit; a run over the limit takes 20 off the streak, so that at most 5 % may be over it (a p95). It goes back
when more than 5 % of its last runs take over twice the limit, or one run over ten times; the streak that it
then needs is doubled, so that a handler that is now fast and now slow settles in the slow lane.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FAST: Final = "fast"
SLOW: Final = "slow"

PROOF: Final = 5
"""Runs in a row that prove a handler fast the first time."""
HARDEST_PROOF: Final = 1280
PARDON: Final = 2000
"""Runs in the fast lane after which one demotion is forgiven."""
WINDOW: Final = 64
"""Last runs that the quantiles are taken of."""
OVER: Final = 20
"""One run in this many may be over the limit."""
HANDLERS: Final = 2000
"""Handlers kept: event names come from clients, so their number must have an end."""


class Profile:
    """What is known of one handler."""

    __slots__ = ("_at", "_last", "_late", "_since", "count", "demoted", "fast", "pin", "streak", "why", "worst")

    def __init__(self, pin: str | None = None) -> None:
        self.pin = pin
        self.fast = pin == FAST
        self.why = "pinned by the configuration" if pin else "not proven fast yet"
        self.count = 0
        self.worst = 0.0
        self.streak = 0
        self.demoted = 0
        self._since = 0
        self._last: list[float] = []
        self._at = 0
        self._late = 0  # runs over twice the limit among the last ones

    def learn(self, seconds: float, limit: float) -> bool:
        """Count one run; True when the handler changes lanes by it."""
        self._remember(seconds, limit)
        if self.pin is not None:
            return False
        if self.fast:
            return self._keep(seconds, limit)
        return self._prove(seconds, limit)

    def quantile(self, share: float) -> float:
        """Of the last runs, in seconds; 0 when there are none."""
        if not self._last:
            return 0.0
        ordered = sorted(self._last)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def hold(self, why: str) -> bool:
        """Keep it in the slow lane for good; True if it was elsewhere."""
        if self.pin is not None:
            return False
        self.pin, self.why = SLOW, why
        was, self.fast = self.fast, False
        return was

    def _remember(self, seconds: float, limit: float) -> None:
        self.count += 1
        if seconds > self.worst:
            self.worst = seconds
        late = seconds > 2 * limit
        if len(self._last) < WINDOW:
            self._last.append(seconds)
        else:
            self._late -= self._last[self._at] > 2 * limit
            self._last[self._at] = seconds
            self._at = (self._at + 1) % WINDOW
        self._late += late

    def _prove(self, seconds: float, limit: float) -> bool:
        needed = min(PROOF << self.demoted, HARDEST_PROOF)
        if seconds > 10 * limit:
            self.streak = 0
        elif seconds > limit:
            self.streak = max(0, self.streak - OVER)
        else:
            self.streak += 1
        if self.streak < needed:
            if self.demoted == 0:
                self.why = f"not proven fast yet: {self.streak} of {needed} runs within {limit * 1000:g} ms"
            return False
        self.fast, self._since = True, 0
        self.why = f"proven: {self.streak} runs within {limit * 1000:g} ms"
        return True

    def _keep(self, seconds: float, limit: float) -> bool:
        self._since += 1
        if seconds > 10 * limit:
            return self._demote(f"one run took {seconds * 1000:.0f} ms")
        if self._late > max(1, len(self._last) // OVER):
            return self._demote(f"more than 5 % of the last runs took over {2000 * limit:g} ms")
        if self._since >= PARDON and self.demoted:
            self.demoted -= 1
            self._since = 0
        return False

    def _demote(self, why: str) -> bool:
        self.fast, self.why = False, why
        self.demoted += 1
        self.streak = 0
        self._last, self._at, self._late = [], 0, 0
        return True


class Learner:
    """The lanes of all handlers.

    Args:
        limit: seconds within which 95 % of a fast handler's runs end.
        pins: handler → lane; these are never moved.
    """

    def __init__(self, limit: float, pins: Mapping[str, str] | None = None) -> None:
        self.limit = limit
        self._settings_pins = dict(pins or {})
        self._profiles: dict[str, Profile] = {name: Profile(lane) for name, lane in self._settings_pins.items()}

    def lane(self, handler: str) -> str:
        profile = self._profiles.get(handler)
        return FAST if profile is not None and profile.fast else SLOW

    def learn(self, handler: str, seconds: float) -> bool:
        """A run of the handler took this long; True when it changes lanes."""
        profile = self._profiles.get(handler)
        if profile is None:
            profile = self._admit(handler)
        return profile.learn(seconds, self.limit)

    def pin(self, pins: Mapping[str, str]) -> None:
        """Pins from the code; those of the configuration are stronger."""
        for handler, lane in pins.items():
            if handler not in self._settings_pins and lane in (FAST, SLOW):
                known = self._profiles.get(handler)
                if known is None or known.pin != lane:
                    self._profiles[handler] = Profile(lane)
                    self._profiles[handler].why = "pinned by the app"

    def hold(self, handler: str, why: str) -> bool:
        """Keep a handler in the slow lane because of what it is; True when it changes lanes."""
        return (self._profiles.get(handler) or self._admit(handler)).hold(why)

    def known(self) -> dict[str, bool]:
        """What a newly linked worker is told: the handlers proven or pinned fast."""
        return {name: True for name, profile in self._profiles.items() if profile.fast}

    def profiles(self) -> Mapping[str, Profile]:
        return self._profiles

    def _admit(self, handler: str) -> Profile:
        if len(self._profiles) >= HANDLERS:
            self._forget_one()
        profile = self._profiles[handler] = Profile()
        return profile

    def _forget_one(self) -> None:
        """Of the 64 oldest without a pin, the one that ran least."""
        oldest = [name for name, profile in self._profiles.items() if profile.pin is None][:64]
        if oldest:
            del self._profiles[min(oldest, key=lambda name: self._profiles[name].count)]
