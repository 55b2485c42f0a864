"""What is counted and timed in a run: per second and in total, mergeable across processes.

A latency belongs to the second in which the click was meant to happen, whenever its answer came:
so a stall shows where its victims clicked. A counter belongs to the second in which it happened.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, Final

import msgspec

from headgate.simulate.histogram import Histogram

SEAL_AFTER: Final = 30
"""Seconds after which a second's histogram is kept encoded (200 bytes instead of 13,000)."""


class MeasureDump(msgspec.Struct, frozen=True):
    """A `Measure` as it crosses from a generator process to its parent."""

    totals: dict[str, str]
    seconds: dict[str, dict[int, str]]
    counts: dict[str, int]
    count_seconds: dict[str, dict[int, int]]
    closes: dict[str, int]
    lost_by_cause: dict[str, int]


class Series:
    """One named latency: in total, and second by second."""

    def __init__(self) -> None:
        self.total = Histogram(3)
        self._open: dict[int, Histogram] = {}
        self._sealed: dict[int, str] = {}

    def record(self, second: int, value: float) -> None:
        self.total.record(value)
        self._of(second).record(value)

    def _of(self, second: int) -> Histogram:
        histogram = self._open.get(second)
        if histogram is None:
            text = self._sealed.pop(second, None)
            histogram = Histogram(2) if text is None else Histogram.decode(text)
            self._open[second] = histogram
            if len(self._open) > 2 * SEAL_AFTER:
                self._seal(second - SEAL_AFTER)
        return histogram

    def _seal(self, before: int) -> None:
        for second in [s for s in self._open if s < before]:
            self._sealed[second] = self._open.pop(second).encode()

    def merge(self, total: str, seconds: dict[int, str]) -> None:
        self.total.add(Histogram.decode(total))
        for second, text in seconds.items():
            if second not in self._open and second not in self._sealed:
                self._sealed[second] = text
            else:
                self._of(second).add(Histogram.decode(text))

    def dump(self) -> tuple[str, dict[int, str]]:
        opened = {second: histogram.encode() for second, histogram in self._open.items()}
        return self.total.encode(), {**self._sealed, **opened}

    def by_second(self) -> dict[int, Histogram]:
        """Every second's own histogram, in order of time."""
        _, texts = self.dump()
        return {second: Histogram.decode(texts[second]) for second in sorted(texts)}


class Measure:
    """All that one generator (or the whole run, after merging) has measured.

    Args:
        warmup: clicks meant for the first so many seconds are counted but not timed.
    """

    def __init__(self, warmup: float = 0.0) -> None:
        self.warmup = warmup
        self.series: defaultdict[str, Series] = defaultdict(Series)
        self.counts: Counter[str] = Counter()
        self.count_seconds: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.closes: Counter[str] = Counter()
        self.lost_by_cause: Counter[str] = Counter()

    def time(self, name: str, intended: float, value: float) -> None:
        """Record a latency in seconds of a click meant for `intended` seconds after the start."""
        if intended >= self.warmup:
            self.series[name].record(int(intended), value)

    def count(self, name: str, at: float, by: int = 1) -> None:
        """Count something that happened `at` seconds after the start (before it: second −1)."""
        self.counts[name] += by
        self.count_seconds[name][int(at) if at >= 0 else -1] += by

    def lose(self, series: str, intended: float, cause: str) -> None:
        """Count what never came of a click meant for `intended` seconds after the start.

        Args:
            series: the one that its time is missing from.
        """
        self.count("lost", intended)
        self.count(f"lost.{series}", intended)
        if intended < self.warmup:
            self.count(f"lost_in_warmup.{series}", intended)
        self.lost_by_cause[cause] += 1

    def dump(self) -> MeasureDump:
        dumps = {name: series.dump() for name, series in self.series.items()}
        return MeasureDump(
            totals={name: total for name, (total, _) in dumps.items()},
            seconds={name: seconds for name, (_, seconds) in dumps.items()},
            counts=dict(self.counts),
            count_seconds={name: dict(seconds) for name, seconds in self.count_seconds.items()},
            closes=dict(self.closes),
            lost_by_cause=dict(self.lost_by_cause),
        )

    def merge(self, dump: MeasureDump) -> None:
        """Add what another process measured."""
        for name, total in dump.totals.items():
            self.series[name].merge(total, dump.seconds.get(name, {}))
        self.counts.update(dump.counts)
        for name, seconds in dump.count_seconds.items():
            self.count_seconds[name].update(seconds)
        self.closes.update(dump.closes)
        self.lost_by_cause.update(dump.lost_by_cause)


def as_builtins(value: Any) -> Any:
    """Plain data of a struct, for JSON."""
    return msgspec.to_builtins(value, str_keys=True)
