"""Histograms and counters: per second, in total, and merged from several processes."""

from __future__ import annotations

import pytest

from headgate.simulate.errors import SimulateError
from headgate.simulate.histogram import Histogram
from headgate.simulate.measure import SEAL_AFTER, Measure
from headgate.simulate.report import moment


def test_percentiles_are_within_a_thousandth() -> None:
    histogram = Histogram()
    for micros in range(1, 10_001):
        histogram.record(micros / 1e6)
    assert histogram.percentile(50) == pytest.approx(0.005, rel=0.001)
    assert histogram.percentiles((90.0, 99.0)) == {
        90.0: pytest.approx(0.009, rel=0.001),
        99.0: pytest.approx(0.0099, rel=0.001),
    }
    assert (histogram.count, histogram.percentile(100)) == (10_000, histogram.max)
    assert histogram.max == pytest.approx(0.01, rel=0.001)


def test_times_outside_the_range_are_held_to_it() -> None:
    histogram = Histogram()
    histogram.record(-1)
    histogram.record(10_000)
    assert histogram.count == 2
    assert histogram.max == pytest.approx(3600, rel=0.001)


def test_an_empty_histogram_has_zeros() -> None:
    histogram = Histogram()
    assert (histogram.percentile(99), histogram.min, histogram.max, histogram.mean) == (0, 0, 0, 0)
    assert histogram.percentiles((50.0,)) == {50.0: 0.0}


def test_histograms_travel_as_text() -> None:
    histogram = Histogram()
    histogram.record(0.25)
    again = Histogram.decode(histogram.encode())
    again.add(histogram)
    assert (again.count, again.figures) == (2, 3)
    with pytest.raises(SimulateError, match="cannot be read"):
        Histogram.decode("rubbish")


def test_a_latency_belongs_to_the_second_of_its_intention() -> None:
    measure = Measure()
    measure.time("click", 1.9, 5.0)
    measure.time("click", 2.1, 0.1)
    seconds = measure.series["click"].by_second()
    assert {second: histogram.count for second, histogram in seconds.items()} == {1: 1, 2: 1}
    assert seconds[1].max == pytest.approx(5, rel=0.01)


def test_warm_up_clicks_are_counted_but_not_timed() -> None:
    measure = Measure(warmup=2.0)
    measure.count("clicks", 1.0)
    measure.time("click", 1.0, 0.1)
    measure.time("click", 2.0, 0.1)
    assert (measure.counts["clicks"], measure.series["click"].total.count) == (1, 1)


def test_what_is_lost_of_the_warm_up_is_known() -> None:
    measure = Measure(warmup=2.0)
    measure.lose("click", 1.0, "gone")
    measure.lose("click", 2.0, "gone")
    assert measure.counts == {"lost": 2, "lost.click": 2, "lost_in_warmup.click": 1}
    assert measure.lost_by_cause == {"gone": 2}


def test_what_happens_before_the_start_is_second_minus_one() -> None:
    measure = Measure()
    measure.count("opened", -3.5)
    assert dict(measure.count_seconds["opened"]) == {-1: 1}


def test_old_seconds_are_sealed_and_still_take_late_answers() -> None:
    measure = Measure()
    for second in range(10 * SEAL_AFTER):
        measure.time("click", second, 0.1)
    measure.time("click", 0.5, 0.2)
    counts = {second: histogram.count for second, histogram in measure.series["click"].by_second().items()}
    assert len(counts) == 10 * SEAL_AFTER
    assert (counts[0], counts[1]) == (2, 1)


def test_processes_are_merged() -> None:
    one, two, total = Measure(), Measure(), Measure()
    for measure, value in ((one, 0.1), (two, 0.3)):
        measure.time("click", 0, value)
        measure.count("clicks", 0.5)
        measure.closes["1006"] += 1
    two.time("update", 4, 1.0)
    two.lost_by_cause["answer never came"] += 1
    for measure in (one, two):
        total.merge(measure.dump())
    assert {name: s.total.count for name, s in total.series.items()} == {"click": 2, "update": 1}
    assert total.series["click"].by_second()[0].count == 2
    assert (total.counts["clicks"], dict(total.count_seconds["clicks"])) == (2, {0: 2})
    assert (total.closes["1006"], total.lost_by_cause["answer never came"]) == (2, 1)


def test_each_second_of_a_report_has_its_whole_distribution() -> None:
    histogram = Histogram(2)
    for millis in range(1, 101):
        histogram.record(millis / 1000)
    found = Histogram.decode(moment(histogram).hdr)
    assert (found.count, found.percentile(50), found.max) == (100, histogram.percentile(50), histogram.max)
