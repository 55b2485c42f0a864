"""Objectives: what can be said, what cannot, and what a report answers."""

from __future__ import annotations

import pytest

from headgate.simulate.errors import BadInput
from headgate.simulate.histogram import Histogram
from headgate.simulate.slo import parse_slo
from tests.unit.simulate.reports import make_report


def clicks(*millis: float) -> Histogram:
    histogram = Histogram()
    for value in millis:
        histogram.record(value / 1000)
    return histogram


REPORT = make_report(
    {"click": clicks(*([10] * 98), 40, 60), "update.result": clicks(900)},
    counts={"sent": 100, "errors": 2, "disconnects": 3},
    closes={"1006": 1, "1013 too slow": 2},
    seconds=10.0,
)


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("p50(click) < 11ms", True),
        ("p99(click) < 50ms", True),
        ("p99.9(click) < 50ms", False),
        ("p100(click)<=0.07s", True),
        ("max(click) < 70 ms", True),
        ("mean(click) < 10ms", False),
        ("p99(update.result) < 1s", True),
        ("rate(click) >= 10", True),
        ("rate(click) > 10/s", False),
        ("count(click) == 100", True),
        ("lost == 0", True),
        ("errors / sent < 3%", True),
        ("errors / sent < 2%", False),
        ("disconnects(1013) == 2", True),
        ("disconnects(1006) == 0", False),
        ("disconnects != 3", False),
        ("p99(nothing) < 50ms", False),
    ],
)
def test_objectives(text: str, passes: bool) -> None:
    slo = parse_slo(text)
    assert slo.passes(slo.measured(REPORT)) is passes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not understood"),
        ("be quick", "not understood"),
        ("p99(click) < soon", "not understood"),
        ("p99 < 50ms", "p99 of what"),
        ("p101(click) < 50ms", "not measured"),
        ("wobble == 0", "not measured"),
        ("errors(", "not understood"),
        ("sent(click) > 5", "has no parts"),
        ("p99(click) < 50", "needs a time"),
        ("lost < 50ms", "compares a number with a time"),
        ("lost < 0", "can never be met"),
        ("lost >= 0", "can never be missed"),
        ("p99(click) < 100min", "above an hour"),
    ],
)
def test_absurd_objectives_are_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        parse_slo(text)


def test_a_lost_click_takes_for_ever() -> None:
    report = make_report({"click": clicks(*([10] * 98))}, counts={"lost": 2, "lost.click": 2})
    assert parse_slo("p97(click) < 11ms").passes(parse_slo("p97(click) < 11ms").measured(report))
    slo = parse_slo("p99(click) < 59min")
    assert slo.measured(report) == float("inf")
    assert slo.show(slo.measured(report)) == "∞"


def test_a_ratio_without_anything_to_divide_by() -> None:
    slo = parse_slo("errors / answered < 1%")
    assert slo.measured(make_report({}, counts={})) == 0
    assert slo.measured(make_report({}, counts={"errors": 1})) == float("inf")


@pytest.mark.parametrize(
    ("lost", "endless"),
    [
        ({"lost.update": 2}, {"update", "update.service"}),
        ({"lost.update.result": 2}, {"update.result"}),
        ({"lost.update": 2, "lost_in_warmup.update": 2}, set()),
    ],
)
def test_each_series_counts_its_own_losses_after_the_warm_up(lost: dict[str, int], endless: set[str]) -> None:
    series = {name: clicks(*([10] * 98)) for name in ("update", "update.service", "update.result")}
    report = make_report(series, counts={"lost": 2, **lost})
    assert {name for name in series if report.percentile(name, 99, lost=True) == float("inf")} == endless
    slo = parse_slo("lost(update.result) == 2")
    assert slo.passes(slo.measured(report)) is ("lost.update.result" in lost)
