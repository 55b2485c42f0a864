"""The report of a run: plain data that is written as JSON, read back, compared and rendered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from headgate.simulate.errors import BadInput, ExitCode
from headgate.simulate.histogram import Histogram

FORMAT: Final = 1
PERCENTS: Final = (50.0, 90.0, 95.0, 99.0, 99.9)
HARD: Final = ("lost", "duplicated", "out_of_order", "misdelivered", "repeated_events")
"""What no server may do: each of them fails a run unless an objective speaks of it."""


class Latency(msgspec.Struct, kw_only=True):
    """One series in total; times in seconds."""

    count: int
    mean: float
    min: float
    max: float
    percentiles: dict[str, float]
    """By name: "50", "90", "95", "99", "99.9"."""
    hdr: str
    """The whole distribution: HdrHistogram V2, base64, in microseconds."""


class Moment(msgspec.Struct, kw_only=True):
    """One series in one second."""

    count: int
    p50: float
    p99: float
    max: float
    hdr: str = ""
    """The second's distribution, as in `Latency` but to two figures."""


class Second(msgspec.Struct, kw_only=True):
    """One second of the run, counted from its start."""

    at: int
    counts: dict[str, int]
    series: dict[str, Moment]


class Mark(msgspec.Struct):
    """Something that happened: a fault, a stage, a reload."""

    at: float
    text: str


class Judgement(msgspec.Struct, kw_only=True):
    """One objective, and what came of it. `value` is None when nothing was measured."""

    objective: str
    passed: bool
    value: float | None
    shown: str
    built_in: bool = False


class GeneratorHealth(msgspec.Struct, kw_only=True):
    """The self-check: how late the generator itself was (seconds), and its CPU (1.0 is a core)."""

    processes: int
    lag_p99: float
    lag_max: float
    loop_lag_p99: float
    loop_lag_max: float
    cpu_mean: float
    cpu_max: float
    cpu: list[list[tuple[float, float]]]


class Sample(msgspec.Struct, kw_only=True):
    """The server at one moment: numbers by name, as its status gives them."""

    at: float
    values: dict[str, float]


class Report(msgspec.Struct, kw_only=True):
    """A whole run. Times are in seconds, moments in seconds since the start of the clicking."""

    format: int = FORMAT
    headgate: str
    target: str
    protocol: str
    scenario: str
    seed: int
    users: int
    rate: str
    heavy: float
    load_users: list[tuple[float, float]]
    load_rate: list[tuple[float, float]]
    started: str
    """When the clicking began, ISO 8601, UTC."""
    seconds: float
    warmup: float = 0.0
    connected_at_start: int
    connected_at_end: int
    series: dict[str, Latency]
    timeline: list[Second]
    counts: dict[str, int]
    closes: dict[str, int]
    lost_by_cause: dict[str, int]
    marks: list[Mark]
    generator: GeneratorHealth
    server: list[Sample]
    objectives: list[Judgement]
    invalid: list[str]
    """Why the numbers are not the server's; empty for a valid run."""
    problem: str | None = None
    """Why the run could not do what was asked: target, scenario or interruption."""
    interrupted: bool = False
    exit_code: int = 0

    def series_names(self) -> Sequence[str]:
        return list(self.series)

    def histogram(self, series: str) -> Histogram:
        """The distribution of a series (an empty one if there is no such series)."""
        found = self.series.get(series)
        return Histogram.decode(found.hdr) if found else Histogram()

    def percentile(self, series: str, percent: float, *, lost: bool = False) -> float:
        """The `percent`-th percentile of a series, seconds.

        Args:
            lost: count what the series lost as taking for ever.
        """
        histogram = self.histogram(series)
        missing = self._missing(series) if lost else 0
        total = histogram.count + missing
        if total == 0:
            return 0.0
        rank = percent / 100 * total
        if rank > histogram.count:
            return float("inf")
        return histogram.percentile(100 * rank / histogram.count)

    def _missing(self, series: str) -> int:
        """How many times a series lacks because what it times was lost; clicks of the warm-up are not timed at all."""
        name = series.removesuffix(".service")
        return self.counts.get(f"lost.{name}", 0) - self.counts.get(f"lost_in_warmup.{name}", 0)

    def p50(self, series: str = "click") -> float:
        return self.percentile(series, 50)

    def p99(self, series: str = "click") -> float:
        return self.percentile(series, 99)

    def statistic(self, series: str, name: str) -> float:
        """`min`, `mean`, `max`, `count` or `rate` (answers per second of the timed span)."""
        found = self.series.get(series)
        if found is None:
            return 0.0
        if name == "rate":
            return found.count / max(self.seconds - self.warmup, 1e-9)
        return float(getattr(found, name))

    def counter(self, name: str, part: str | None = None) -> float:
        """A counter; `lost` by series, `disconnects` by close code."""
        if part is None:
            return self.counts.get(name, 0)
        if name == "disconnects":
            return sum(n for key, n in self.closes.items() if key.split(" ")[0] == part)
        return self.counts.get(f"{name}.{part}", 0)

    @property
    def lost(self) -> int:
        return self.counts.get("lost", 0)

    @property
    def valid(self) -> bool:
        return not self.invalid

    @property
    def passed(self) -> bool:
        return self.exit_code == ExitCode.PASSED

    @property
    def verdict(self) -> str:
        """passed · failed · invalid · target · scenario · interrupted · bad_input."""
        return ExitCode(self.exit_code).name.lower()

    def to_json(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=1)

    def write_json(self, path: str | Path) -> None:
        """Write the report to a file."""
        Path(path).write_bytes(self.to_json())


def read_report(path: str | Path) -> Report:
    """A report from its JSON file.

    Raises:
        BadInput: the file is not there or not a report.
    """
    try:
        report = msgspec.json.decode(Path(path).read_bytes(), type=Report)
    except OSError as error:
        raise BadInput(f"the report {str(path)!r} cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise BadInput(f"{str(path)!r} is not a report of headgate simulate: {error}") from None
    if report.format != FORMAT:
        raise BadInput(f"{str(path)!r} has the report format {report.format}; known is {FORMAT}")
    return report


def latency(histogram: Histogram) -> Latency:
    """The numbers of one series."""
    found = histogram.percentiles(PERCENTS)
    return Latency(
        count=histogram.count,
        mean=histogram.mean,
        min=histogram.min,
        max=histogram.max,
        percentiles={f"{p:g}": value for p, value in found.items()},
        hdr=histogram.encode(),
    )


def moment(histogram: Histogram) -> Moment:
    """The numbers of one series in one second."""
    found: dict[float, Any] = histogram.percentiles((50.0, 99.0))
    return Moment(count=histogram.count, p50=found[50.0], p99=found[99.0], max=histogram.max, hdr=histogram.encode())
