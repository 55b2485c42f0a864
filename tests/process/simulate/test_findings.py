"""The simulator finds what was planted, and nothing where nothing was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from headgate.simulate import api
from headgate.simulate.errors import ExitCode
from headgate.simulate.report import Report

Target = Callable[..., str]


def simulate(url: str, **options: Any) -> Report:
    """A short, dense run. The lag bound is wide: test machines are busy, and that is not the question here."""
    given: dict[str, Any] = {"users": 20, "rate": "8/user", "seconds": 2, "seed": 7, "drain": 1.5, "max_lag": 30.0}
    return api.run(url, **{**given, **options})


def hard(report: Report) -> dict[str, int]:
    names = ("lost", "duplicated", "out_of_order", "misdelivered", "repeated_events")
    return {name: report.counts[name] for name in names if report.counts.get(name)}


def test_a_faultless_target_passes(target: Target) -> None:
    report = simulate(target(delay=0.05), heavy=0.2)
    assert (report.exit_code, report.problem, hard(report)) == (ExitCode.PASSED, None, {})
    assert report.counts["sent"] == report.counts["answered"] == report.counts["clicks"] > 200
    assert report.counts["results"] == report.series["update.result"].count > 20
    assert report.p50("update.result") >= 0.05 > 0 < report.p50("click")


def test_one_lost_answer_is_found(target: Target) -> None:
    report = simulate(target(lose=[50]))
    assert hard(report) == {"lost": 1}
    assert report.lost_by_cause == {"no answer until the end": 1}
    assert report.exit_code == ExitCode.FAILED
    assert report.percentile("click", 100, lost=True) == float("inf")


def test_one_lost_result_is_found(target: Target) -> None:
    report = simulate(target(delay=0.05, lose_results=True), heavy=0.1)
    assert report.counts["lost"] == report.lost_by_cause["no result until the end"] > 5
    assert report.exit_code == ExitCode.FAILED


def test_one_duplicate_is_found(target: Target) -> None:
    report = simulate(target(duplicate=[50]))
    assert hard(report) == {"duplicated": 1}
    assert report.exit_code == ExitCode.FAILED


def test_doubled_results_are_found(target: Target) -> None:
    report = simulate(target(delay=0.03, double_results=True), heavy=0.1)
    assert report.counts["duplicated"] == report.counts["results"]


def test_an_answer_out_of_order_is_found(target: Target) -> None:
    report = simulate(target(swap=[50]), pace="even")
    assert hard(report) == {"out_of_order": 1}


def test_disorder_is_allowed_where_the_scenario_says_so(target: Target) -> None:
    report = simulate(target(swap=[50]), pace="even", ordered=False)
    assert (hard(report), report.exit_code) == ({}, ExitCode.PASSED)


def test_an_answer_to_the_wrong_user_is_found(target: Target) -> None:
    report = simulate(target(misdeliver=[50]))
    assert hard(report) == {"misdelivered": 1, "lost": 1}


def test_a_stall_of_300_ms_is_found_where_it_happened(target: Target) -> None:
    report = simulate(target(stall_at=150, stall=0.3), slo=["p99(click) < 50ms", "lost == 0"])
    assert report.exit_code == ExitCode.FAILED
    # Users go on clicking in the open model: about 30 of 300 clicks fall into the stall, not one.
    assert report.percentile("click", 95) > 0.1
    assert report.series["click"].max >= 0.25
    worst = max(report.timeline, key=lambda second: second.series["click"].max if "click" in second.series else 0)
    assert worst.at in (0, 1)
    failed = [judgement.objective for judgement in report.objectives if not judgement.passed]
    assert failed == ["p99(click) < 50ms"]


def test_a_disconnect_is_counted_with_its_code_and_healed(target: Target) -> None:
    report = simulate(target(close_at=50, close_code=4321))
    assert report.closes == {"4321 planted": 1}
    assert report.counts["reconnects"] == 1
    assert report.lost_by_cause == {"no answer until the end, and its connection had closed": 1}


@pytest.mark.parametrize("resend", [False, True])
def test_resume_after_a_storm_is_checked(target: Target, resend: bool) -> None:
    faults = ["reconnect-storm@1s,share=100%"]
    url = target(delay=0.6, resend=resend)
    report = simulate(url, heavy=0.5, faults=faults, slo=["disconnects == 0", "lost == 0"])
    assert report.counts["reconnects"] == 20
    assert [mark.text for mark in report.marks] == ["reconnect storm (100% of the users)"]
    assert report.lost == 0
    # A server that resumes from the offset repeats nothing; one that ignores it is found out.
    assert bool(report.counts.get("repeated_events")) is resend
    assert report.exit_code == (ExitCode.FAILED if resend else ExitCode.PASSED)


def test_stalled_readers_are_withheld_not_lost(target: Target) -> None:
    report = simulate(target(), faults=["stalled-readers@500ms,share=50%,for=1s"])
    assert report.counts["withheld"] > 20
    assert (hard(report), report.exit_code) == ({}, ExitCode.PASSED)


def test_two_processes_measure_the_same_run(target: Target) -> None:
    one = simulate(target(), processes=1)
    two = simulate(target(), processes=2)
    assert (one.generator.processes, two.generator.processes) == (1, 2)
    assert one.counts["clicks"] == two.counts["clicks"]
    assert one.series["click"].count == two.series["click"].count


def test_source_addresses_are_spread(target: Target) -> None:
    report = simulate(target(), sources=3)
    assert (report.counts["opened"], report.exit_code) == (20, ExitCode.PASSED)


def test_stages_ramp_the_users(target: Target) -> None:
    stages = [api.Stage(1, 20), api.Stage(1, 20), api.Stage(1, 0)]
    report = simulate(target(), stages=stages, seconds=None)
    assert report.counts["opened"] == 20
    assert report.connected_at_end == 0
    clicks = {second.at: second.counts.get("clicks", 0) for second in report.timeline}
    assert clicks[1] > clicks[0] > 0
    assert clicks[1] > clicks[2]
    assert report.exit_code == ExitCode.PASSED
