"""Latencies in HdrHistogram: microseconds to an hour, mergeable, and small when encoded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from headgate.simulate.errors import BadInput, SimulateError

try:
    from hdrh.histogram import HdrHistogram
except ImportError as error:
    raise BadInput(
        "the simulator needs the package hdrhistogram, which is not installed;"
        " install it with: pip install 'headgate[simulate]'"
    ) from error

_HIGHEST: Final = 3_600_000_000


class Histogram:
    """A distribution of times in seconds, kept to 2 (±1 %) or 3 (±0.1 %) significant figures."""

    __slots__ = ("_hdr", "figures")

    def __init__(self, figures: int = 3, _hdr: Any = None) -> None:
        self.figures = figures
        self._hdr = _hdr or HdrHistogram(1, _HIGHEST, figures, word_size=4 if figures < 3 else 8)

    def record(self, seconds: float) -> None:
        """Count one time; it is held to the range from 0 to one hour."""
        micros = int(seconds * 1e6)
        self._hdr.record_value(min(max(micros, 0), _HIGHEST))

    def add(self, other: Histogram) -> None:
        self._hdr.add(other._hdr)

    @property
    def count(self) -> int:
        return int(self._hdr.total_count)

    @property
    def mean(self) -> float:
        return float(self._hdr.get_mean_value()) / 1e6

    @property
    def min(self) -> float:
        return float(self._hdr.get_min_value()) / 1e6 if self.count else 0.0

    @property
    def max(self) -> float:
        return float(self._hdr.get_max_value()) / 1e6

    def percentile(self, percent: float) -> float:
        """The time, in seconds, that `percent` of the counted ones do not exceed; 0 when empty."""
        value = float(self._hdr.get_value_at_percentile(percent)) / 1e6
        return min(value, self.max)

    def percentiles(self, percents: Iterable[float]) -> dict[float, float]:
        """Several percentiles in one pass."""
        wanted = list(percents)
        if not self.count:
            return dict.fromkeys(wanted, 0.0)
        found = self._hdr.get_percentile_to_value_dict(wanted)
        return {p: min(found[p] / 1e6, self.max) for p in wanted}

    def share_below(self, seconds: float) -> float:
        """The share of the counted times that are at most `seconds`."""
        below = sum(n for value, n in self.buckets() if value <= seconds)
        return below / self.count if self.count else 1.0

    def buckets(self) -> list[tuple[float, int]]:
        """(time in seconds, count) of every bucket that holds something, rising."""
        hdr, out = self._hdr, []
        for item in hdr.get_recorded_iterator():
            out.append((item.value_iterated_to / 1e6, int(item.count_at_value_iterated_to)))
        return out

    def encode(self) -> str:
        """The HdrHistogram V2 text form, which every HdrHistogram library reads."""
        return bytes(self._hdr.encode()).decode("ascii")

    @classmethod
    def decode(cls, text: str) -> Histogram:
        """The inverse of `encode`."""
        try:
            hdr = HdrHistogram.decode(text.encode("ascii"))
        except Exception as error:
            raise SimulateError(f"a latency histogram cannot be read: {error!r}") from error
        return cls(int(hdr.significant_figures), hdr)
