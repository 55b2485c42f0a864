"""The load over time: stages that ramp, as piecewise-linear curves that can be integrated and inverted."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

from headgate.simulate.amounts import Rate, parse_duration, parse_rate
from headgate.simulate.errors import BadInput


@dataclass(frozen=True, slots=True)
class Stage:
    """`seconds` long; at its end there are `users` users clicking at `rate`; between, a straight line."""

    seconds: float
    users: int
    rate: str | None = None


def parse_stage(text: str) -> Stage:
    """`30s:500` or `30s:500@0.5/user`.

    Raises:
        BadInput: it is not a stage.
    """
    head, _, rate = text.partition("@")
    duration, colon, users = head.partition(":")
    if not colon or not users.strip().isdigit():
        raise BadInput(f"stage {text!r} is not understood; write 30s:500 or 30s:500@0.5/user")
    if rate:
        parse_rate(rate)
    return Stage(parse_duration(duration, "stage"), int(users), rate or None)


class Curve:
    """A piecewise-linear function of time given by its corners; constant before and after them."""

    def __init__(self, corners: Iterable[tuple[float, float]]) -> None:
        self.corners = list(corners)
        self._times = [t for t, _ in self.corners]
        self._areas = [0.0]
        for (t0, v0), (t1, v1) in zip(self.corners, self.corners[1:], strict=False):
            self._areas.append(self._areas[-1] + (v0 + v1) / 2 * (t1 - t0))

    @property
    def end(self) -> float:
        return self._times[-1]

    @property
    def highest(self) -> float:
        return max(value for _, value in self.corners)

    def at(self, t: float) -> float:
        """The value at the time `t`."""
        i = bisect.bisect_right(self._times, t) - 1
        if i < 0:
            return self.corners[0][1]
        if i >= len(self.corners) - 1:
            return self.corners[-1][1]
        (t0, v0), (t1, v1) = self.corners[i], self.corners[i + 1]
        return v0 + (v1 - v0) * (t - t0) / (t1 - t0)

    def area(self, t: float) -> float:
        """The integral from the first corner to `t`."""
        i = min(max(bisect.bisect_right(self._times, t) - 1, 0), len(self.corners) - 1)
        t0, v0 = self.corners[i]
        return self._areas[i] + (v0 + self.at(t)) / 2 * (min(t, self.end) - t0)

    def when(self, area: float) -> float | None:
        """The time at which the integral reaches `area`; None when it never does."""
        if area >= self._areas[-1]:
            return None
        i = max(bisect.bisect_right(self._areas, area) - 1, 0)
        (t0, v0), (t1, v1) = self.corners[i], self.corners[i + 1]
        rest, slope = area - self._areas[i], (v1 - v0) / (t1 - t0)
        if abs(slope) < 1e-12:
            return t0 + rest / v0
        return t0 + (sqrt(max(v0 * v0 + 2 * slope * rest, 0.0)) - v0) / slope

    def above(self, level: float) -> list[tuple[float, float]]:
        """The spans of time in which the value is greater than `level`."""
        spans: list[tuple[float, float]] = []
        start = self._times[0] if self.corners[0][1] > level else None
        for (t0, v0), (t1, v1) in zip(self.corners, self.corners[1:], strict=False):
            if (v0 > level) == (v1 > level):
                continue
            crossing = t0 + (level - v0) / (v1 - v0) * (t1 - t0)
            if start is None:
                start = crossing
            else:
                spans.append((start, crossing))
                start = None
        if start is not None:
            spans.append((start, self.end))
        return spans


@dataclass(frozen=True, slots=True)
class Load:
    """How many users there are over time, and how fast each of them clicks."""

    users: Curve
    rate: Curve

    @property
    def seconds(self) -> float:
        return self.users.end

    @property
    def most_users(self) -> int:
        return round(self.users.highest)

    @property
    def clicks_per_second(self) -> float:
        """The greatest click rate of all users together, by the corners."""
        times = {t for t, _ in (*self.users.corners, *self.rate.corners)}
        return max(self.users.at(t) * self.rate.at(t) for t in times)


def plan(users: int, rate: Rate, seconds: float, stages: Sequence[Stage] = ()) -> Load:
    """The load of a run: `stages`, or `users` at `rate` for `seconds`.

    A first stage starts from no users at all; a rate of all users together is shared out by the
    second while their number changes.

    Raises:
        BadInput: no users, no time or no clicks.
    """
    if not stages:
        stages, first = [Stage(seconds, users)], float(users)
    else:
        first = 0.0
    if sum(stage.seconds for stage in stages) <= 0:
        raise BadInput("the run has no length; give --for (or stages) a time above zero")
    people, pace, t = [(0.0, first)], [(0.0, rate)], 0.0
    for stage in stages:
        if stage.seconds <= 0:
            raise BadInput(f"the stage with {stage.users} users has no length")
        t += stage.seconds
        people.append((t, float(stage.users)))
        pace.append((t, parse_rate(stage.rate) if stage.rate else pace[-1][1]))
    load_users = Curve(people)
    if load_users.highest < 1:
        raise BadInput("the run has no users; --users (or a stage) must say at least 1")
    load = Load(load_users, _rate_curve(load_users, pace))
    if load.rate.highest <= 0:
        raise BadInput("nobody would ever click: the rate is zero")
    return load


def _rate_curve(users: Curve, pace: Sequence[tuple[float, Rate]]) -> Curve:
    if all(rate.per_user for _, rate in pace):
        return Curve((t, rate.value) for t, rate in pace)
    if any(rate.per_user for _, rate in pace):
        raise BadInput("stages mix rates per user with rates of all users; use one kind")
    total = Curve((t, rate.value) for t, rate in pace)
    steps = max(int(users.end), 1)
    times = sorted({*(t for t, _ in pace), *(users.end * i / steps for i in range(steps + 1))})
    return Curve((t, total.at(t) / max(users.at(t), 1.0)) for t in times)
