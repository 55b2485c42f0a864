"""Two reports side by side: every number of both, and how the second stands to the first."""

from __future__ import annotations

from dataclasses import dataclass, field

from headgate.simulate.amounts import show_seconds
from headgate.simulate.report import HARD, Report

COMPARED = ("50", "90", "99", "99.9")
TIE = 1.25
"""Timings on a shared machine that differ by less are called equal."""


@dataclass(frozen=True, slots=True)
class Row:
    """One number of both runs; `ratio` is second over first, None where it has no meaning."""

    name: str
    first: str
    second: str
    ratio: float | None = None
    verdict: str = ""


@dataclass(slots=True)
class Comparison:
    """What `--compare` shows."""

    names: tuple[str, str]
    rows: list[Row] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    """Ways in which the two runs were not the same experiment."""


def compare(first: Report, second: Report, names: tuple[str, str] = ("A", "B")) -> Comparison:
    """Put two reports side by side."""
    found = Comparison(names, differences=_differences(first, second))
    found.rows.append(Row("verdict", first.verdict, second.verdict))
    for series in [*first.series, *(s for s in second.series if s not in first.series)]:
        found.rows += _series(first, second, series)
    counters = ("clicks", "answered", "results", "errors", *HARD, "disconnects", "reconnects")
    for counter in counters:
        one, two = first.counter(counter), second.counter(counter)
        if one or two:
            verdict = _worse(one, two) if counter in HARD else ""
            found.rows.append(Row(counter, f"{one:g}", f"{two:g}", verdict=verdict))
    return found


def _series(first: Report, second: Report, series: str) -> list[Row]:
    rows = []
    for percent in COMPARED:
        one, two = (r.series[series].percentiles[percent] if series in r.series else None for r in (first, second))
        if one is None or two is None:
            shown = ["–" if v is None else show_seconds(v) for v in (one, two)]
            rows.append(Row(f"p{percent} {series}", shown[0], shown[1]))
            continue
        ratio = two / one if one else None
        verdict = "" if ratio is None else _faster(ratio)
        name = f"p{percent} {series}"
        rows.append(Row(name, show_seconds(one), show_seconds(two), ratio, verdict))
    return rows


def _faster(ratio: float) -> str:
    if ratio > TIE:
        return "slower"
    return "faster" if ratio < 1 / TIE else "equal"


def _worse(one: float, two: float) -> str:
    if one == two:
        return "equal"
    return "worse" if two > one else "better"


def _differences(first: Report, second: Report) -> list[str]:
    found = []
    for name in ("scenario", "protocol", "users", "rate", "heavy", "load_users", "warmup", "seed"):
        one, two = getattr(first, name), getattr(second, name)
        if one != two:
            found.append(f"{name}: {one} and {two}")
    found += [
        f"the {which} run is invalid: {reason}"
        for which, report in (("first", first), ("second", second))
        for reason in report.invalid
    ]
    return found
