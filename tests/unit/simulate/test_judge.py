"""Which run is valid, and which exit code it has."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headgate.simulate.errors import BadInput, ExitCode, ScenarioError, SimulateError, TargetError
from headgate.simulate.histogram import Histogram
from headgate.simulate.judge import judge
from headgate.simulate.plan import Options, make_plan
from headgate.simulate.report import Report, read_report
from tests.unit.simulate.reports import make_report


def clicks(seconds: float) -> dict[str, Histogram]:
    histogram = Histogram()
    for _ in range(100):
        histogram.record(seconds)
    return {"click": histogram}


def judged(report: Report, *slo: str, problem: SimulateError | None = None, troubles: tuple[str, ...] = ()) -> Report:
    plan = make_plan(Options("ws://127.0.0.1:1/", slo=slo))
    return judge(report, plan, troubles, problem)


FINE: dict[str, Any] = {"counts": {"sent": 100, "answered": 100}}


def health(**fields: float) -> dict[str, Any]:
    base = make_report({}).generator
    return {**FINE, "generator": msgspec.structs.replace(base, **fields)}


def test_a_run_without_objectives_passes_when_nothing_is_lost() -> None:
    report = judged(make_report(clicks(0.01), **FINE))
    assert (report.exit_code, report.passed, report.verdict) == (0, True, "passed")
    assert [j.objective for j in report.objectives] == [
        "lost == 0",
        "duplicated == 0",
        "out_of_order == 0",
        "misdelivered == 0",
        "repeated_events == 0",
    ]


@pytest.mark.parametrize("counter", ["lost", "duplicated", "out_of_order", "misdelivered", "repeated_events"])
def test_each_hard_failure_fails_a_run(counter: str) -> None:
    counts = {"counts": {**FINE["counts"], counter: 1}}
    assert judged(make_report(clicks(0.01), **counts)).exit_code == ExitCode.FAILED
    assert judged(make_report(clicks(0.01), **counts), f"{counter} <= 1").exit_code == ExitCode.PASSED


def test_a_missed_objective_fails_a_run() -> None:
    report = judged(make_report(clicks(0.06), **FINE), "p99(click) < 50ms", "p50(click) < 1s")
    assert report.exit_code == ExitCode.FAILED
    assert [j.passed for j in report.objectives[:2]] == [False, True]
    assert report.objectives[0].shown == "60 ms"


def test_a_late_generator_makes_a_run_invalid() -> None:
    report = judged(make_report(clicks(0.05), **health(lag_p99=0.04)))
    assert (report.exit_code, report.valid) == (ExitCode.INVALID, False)
    assert "the generator was late" in report.invalid[0]


def test_the_event_loops_own_lag_counts_too() -> None:
    assert judged(make_report(clicks(0.05), **health(loop_lag_p99=0.04))).exit_code == ExitCode.INVALID


def test_lag_that_is_small_beside_what_was_measured_is_no_matter() -> None:
    assert judged(make_report(clicks(5.0), **health(lag_p99=0.04))).valid


def test_a_generator_that_used_a_whole_core_makes_a_run_invalid() -> None:
    busy = [(i / 2, 0.99 if i < 4 else 0.5) for i in range(10)]
    report = judged(make_report(clicks(0.05), **health(cpu=[[], busy])))  # type: ignore[arg-type]
    assert report.exit_code == ExitCode.INVALID
    assert "generator process 1 used a whole core for 40% of the run" in report.invalid[0]


def test_a_process_that_died_makes_a_run_invalid() -> None:
    report = judged(make_report(clicks(0.05), **FINE), troubles=("generator process 0 ended early",))
    assert report.exit_code == ExitCode.INVALID


def test_invalid_outranks_a_missed_objective() -> None:
    report = judged(make_report(clicks(0.05), **health(lag_p99=0.04)), "p99(click) < 1ms")
    assert report.exit_code == ExitCode.INVALID


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"sent": 9, "lost": 9}, "answered none of them"),
        ({"sent": 9, "lost": 9, "messages": 4}, "speak the scenario's format"),
        ({"sent": 9, "errors": 9, "errors.HTTP 503": 9}, "answered none of the 9 clicks and refused 9: HTTP 503"),
        ({"sent": 9, "errors": 1, "lost": 8}, "refused 1"),
    ],
)
def test_a_target_that_never_answers(counts: dict[str, int], words: str) -> None:
    report = judged(make_report({}, counts=counts))
    assert report.exit_code == ExitCode.TARGET
    assert words in (report.problem or "")


@pytest.mark.parametrize(
    ("problem", "interrupted", "code"),
    [
        (TargetError("nobody there"), False, ExitCode.TARGET),
        (ScenarioError("oops"), False, ExitCode.SCENARIO),
        (ScenarioError("oops"), True, ExitCode.SCENARIO),
        (TargetError("nobody there"), True, ExitCode.INTERRUPTED),
        (None, True, ExitCode.INTERRUPTED),
        (BadInput("what?"), False, ExitCode.BAD_INPUT),
    ],
)
def test_the_order_of_exit_codes(problem: SimulateError | None, interrupted: bool, code: ExitCode) -> None:
    report = judged(make_report(clicks(0.01), **FINE, interrupted=interrupted), problem=problem)
    assert report.exit_code == code


def test_an_infinite_percentile_survives_json(tmp_path: Any) -> None:
    report = judged(make_report(clicks(0.01), counts={"lost": 50, "lost.click": 50, "answered": 1}), "p99(click) < 1s")
    path = tmp_path / "run.json"
    report.write_json(path)
    again = read_report(path)
    assert again == report
    assert (again.objectives[0].value, again.objectives[0].shown, again.objectives[0].passed) == (None, "∞", False)
    assert again.histogram("click").count == 100


def test_what_is_no_report_is_refused(tmp_path: Any) -> None:
    path = tmp_path / "run.json"
    with pytest.raises(BadInput, match="cannot be read"):
        read_report(path)
    path.write_text("{}")
    with pytest.raises(BadInput, match="not a report"):
        read_report(path)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(make_report({}), format=99)))
    with pytest.raises(BadInput, match="format 99"):
        read_report(path)
