"""Service-level objectives: `p99(click) < 50ms`, `lost == 0`, `errors / sent < 1%`, `rate(click) > 40`.

    objective  = value, comparison, amount
    value      = term [ "/" term ]
    term       = function "(" series ")" | counter [ "(" name ")" ]
    function   = p50 … p99.9 | min | mean | max | count | rate
    comparison = < | <= | > | >= | == | !=

In percentiles a lost answer or result counts as one that takes for ever: an average of those who were served
is no service level.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from headgate.simulate.amounts import show_seconds
from headgate.simulate.errors import BadInput

COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
UNITS: Final = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "%": 0.01, "/s": 1.0}
COUNTERS: Final = frozenset(
    {
        "clicks",
        "sent",
        "answered",
        "results",
        "lost",
        "duplicated",
        "out_of_order",
        "misdelivered",
        "errors",
        "failed",
        "disconnects",
        "reconnects",
        "retried",
        "connect_failed",
        "abandoned",
        "withheld",
        "truncated",
        "repeated_events",
        "unexpected",
        "upgrades",
        "upgrades_failed",
    }
)
PARTED: Final = frozenset({"lost", "disconnects", "errors"})
TIMES: Final = frozenset({"min", "mean", "max"})
_PERCENTILE: Final = re.compile(r"p(\d{1,2}(?:\.\d+)?|100)")
_TERM: Final = re.compile(r"([a-z_][a-z_0-9.]*)\s*(?:\(\s*([\w.\- ]+?)\s*\))?")
_SLO: Final = re.compile(r"(.+?)\s*(<=|>=|==|!=|<|>)\s*(\d+(?:\.\d+)?)\s*(us|µs|ms|min|s|%|/s)?")


class Facts(Protocol):
    """What an objective asks of a report."""

    def percentile(self, series: str, percent: float, *, lost: bool = False) -> float: ...

    def statistic(self, series: str, name: str) -> float: ...

    def counter(self, name: str, part: str | None = None) -> float: ...

    def series_names(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Term:
    name: str
    of: str | None

    @property
    def percent(self) -> float | None:
        match = _PERCENTILE.fullmatch(self.name)
        return float(match[1]) if match else None

    @property
    def is_time(self) -> bool:
        return self.percent is not None or self.name in TIMES

    def value(self, facts: Facts) -> float:
        if self.percent is not None:
            return facts.percentile(self.of or "", self.percent, lost=True)
        if self.name in TIMES or self.name in ("count", "rate"):
            return facts.statistic(self.of or "", self.name)
        return facts.counter(self.name, self.of)


@dataclass(frozen=True, slots=True)
class Slo:
    """One objective, parsed."""

    text: str
    left: Term
    over: Term | None
    comparison: str
    bound: float

    def names(self, counter: str) -> bool:
        """Whether it speaks of this counter."""
        return any(term is not None and term.name == counter for term in (self.left, self.over))

    def measured(self, facts: Facts) -> float | None:
        """Its value in a report; None when the report has no such series."""
        for term in (self.left, self.over):
            if term is not None and _needs_series(term) and term.of not in facts.series_names():
                return None
        value = self.left.value(facts)
        if self.over is None:
            return value
        divisor = self.over.value(facts)
        return value / divisor if divisor else (0.0 if value == 0 else float("inf"))

    def passes(self, value: float | None) -> bool:
        """A value that is not there fails: nothing was measured."""
        return value is not None and COMPARE[self.comparison](value, self.bound)

    def show(self, value: float | None) -> str:
        """A measured value in the objective's own terms."""
        if value is None:
            return "nothing was measured"
        if self.over is not None:
            return f"{value:.2%}"
        return show_seconds(value) if self.left.is_time else f"{value:g}"


def _needs_series(term: Term) -> bool:
    return term.is_time or term.name in ("count", "rate")


def parse_slo(text: str) -> Slo:
    """An objective as above.

    Raises:
        BadInput: it is not one, or nothing could ever meet (or miss) it.
    """
    match = _SLO.fullmatch(text.strip())
    if not match:
        raise BadInput(
            f"the objective {text!r} is not understood; write it like 'p99(click) < 50ms',"
            " 'lost == 0' or 'errors / sent < 1%'"
        )
    left, _, over = match[1].partition("/")
    terms = [_term(part, text) for part in ([left, over] if over else [left])]
    bound = float(match[3]) * UNITS.get(match[4] or "", 1.0)
    slo = Slo(text.strip(), terms[0], terms[1] if over else None, match[2], bound)
    _check_unit(slo, match[4])
    _check_sense(slo)
    return slo


def _term(text: str, whole: str) -> Term:
    match = _TERM.fullmatch(text.strip())
    term = Term(match[1], match[2]) if match else Term("", None)
    if term.percent is not None or term.name in TIMES or term.name in ("count", "rate"):
        if term.of is None:
            raise BadInput(f"the objective {whole!r}: {term.name} of what? write {term.name}(click)")
        return term
    if term.name not in COUNTERS:
        raise BadInput(
            f"the objective {whole!r} names {text.strip()!r}, which is not measured; known are"
            f" p50(…) to p99.9(…), min, mean, max, count, rate and: {', '.join(sorted(COUNTERS))}"
        )
    if term.of is not None and term.name not in PARTED:
        raise BadInput(f"the objective {whole!r}: {term.name} has no parts; write it without (…)")
    return term


def _check_unit(slo: Slo, unit: str | None) -> None:
    is_time = slo.left.is_time and slo.over is None
    if is_time and unit not in ("us", "µs", "ms", "s", "min") and slo.bound != 0:
        raise BadInput(f"the objective {slo.text!r} needs a time on its right, such as 50ms")
    if not is_time and unit in ("us", "µs", "ms", "s", "min"):
        raise BadInput(f"the objective {slo.text!r} compares a number with a time")


def _check_sense(slo: Slo) -> None:
    if slo.comparison == "<" and slo.bound == 0:
        raise BadInput(f"the objective {slo.text!r} can never be met: nothing is below zero")
    if slo.comparison == ">=" and slo.bound == 0:
        raise BadInput(f"the objective {slo.text!r} can never be missed: nothing is below zero")
    if slo.left.is_time and slo.over is None and slo.bound > 3600:
        raise BadInput(f"the objective {slo.text!r}: times above an hour are not measured")
