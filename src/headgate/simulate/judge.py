"""Makes the report of what was measured, and judges it: valid or not, passed or not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from headgate import __version__
from headgate.simulate.amounts import show_seconds
from headgate.simulate.errors import ExitCode, ScenarioError, SimulateError, TargetError
from headgate.simulate.fleet import Crew
from headgate.simulate.histogram import Histogram
from headgate.simulate.measure import Measure
from headgate.simulate.plan import Plan
from headgate.simulate.report import (
    HARD,
    GeneratorHealth,
    Judgement,
    Mark,
    Report,
    Sample,
    Second,
    latency,
    moment,
)
from headgate.simulate.slo import Slo, parse_slo

BUSY: Final = 0.95
BUSY_SHARE: Final = 0.2
LAG_SHARE: Final = 0.1
SHOWN: Final = 3


def assemble(plan: Plan, crew: Crew, began: float, marks: Sequence[Mark], server: Sequence[Sample]) -> Report:
    """Merge what the processes measured.

    Args:
        began: when the clicking began, seconds since the epoch.
        marks: what the parent itself caused; the users' faults are in the crew's notes.
    """
    measure = Measure(plan.options.warmup)
    for done in crew.done:
        measure.merge(done.measure)
    notes = [Mark(note.at, note.text) for note in crew.notes]
    return Report(
        headgate=__version__,
        target=plan.options.target,
        protocol=plan.protocol,
        scenario=plan.options.scenario,
        seed=plan.seed,
        users=plan.load.most_users,
        rate=str(plan.rate),
        heavy=plan.heavy,
        load_users=plan.load.users.corners,
        load_rate=plan.load.rate.corners,
        started=datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds"),
        seconds=max((done.seconds for done in crew.done), default=0.0),
        warmup=plan.options.warmup,
        connected_at_start=sum(ready.connected for ready in crew.ready),
        connected_at_end=sum(done.connected for done in crew.done),
        series={name: latency(series.total) for name, series in sorted(measure.series.items())},
        timeline=_timeline(measure),
        counts=dict(sorted(measure.counts.items())),
        closes=dict(measure.closes),
        lost_by_cause=dict(measure.lost_by_cause),
        marks=sorted([*notes, *marks], key=lambda mark: mark.at),
        generator=_health(crew),
        server=list(server),
        objectives=[],
        invalid=[],
    )


def _timeline(measure: Measure) -> list[Second]:
    series = {name: s.by_second() for name, s in measure.series.items()}
    seconds: set[int] = set().union(*series.values(), *measure.count_seconds.values())
    return [
        Second(
            at=at,
            counts={n: c[at] for n, c in sorted(measure.count_seconds.items()) if c.get(at)},
            series={n: moment(per[at]) for n, per in sorted(series.items()) if at in per},
        )
        for at in sorted(seconds)
    ]


def _health(crew: Crew) -> GeneratorHealth:
    lag, loop_lag = Histogram(3), Histogram(3)
    for done in crew.done:
        lag.add(Histogram.decode(done.lag))
        loop_lag.add(Histogram.decode(done.loop_lag))
    used = [value for done in crew.done for _, value in done.cpu]
    return GeneratorHealth(
        processes=len(crew.done),
        lag_p99=lag.percentile(99),
        lag_max=lag.max,
        loop_lag_p99=loop_lag.percentile(99),
        loop_lag_max=loop_lag.max,
        cpu_mean=sum(used) / len(used) if used else 0.0,
        cpu_max=max(used, default=0.0),
        cpu=[list(done.cpu) for done in crew.done],
    )


def judge(report: Report, plan: Plan, troubles: Sequence[str], problem: SimulateError | None) -> Report:
    """Fill in objectives, validity, the problem and the exit code.

    Args:
        troubles: why the run was not the one asked for: generator processes that died, faults that failed.
    """
    report.invalid = [*troubles, *_bottleneck(report, plan.options.max_lag)]
    report.objectives = _objectives(report, plan.slos)
    problem = problem or _silence(report)
    if problem is not None:
        report.problem = str(problem)
    report.exit_code = int(_exit_code(report, problem))
    return report


def _bottleneck(report: Report, max_lag: float) -> list[str]:
    """Why the generator, and not the server, may be what was measured."""
    health, reasons = report.generator, []
    lag = max(health.lag_p99, health.loop_lag_p99)
    answers = [s.percentiles["99"] for n, s in report.series.items() if "." not in n and s.count]
    if lag > max_lag and lag > LAG_SHARE * min(answers, default=0.0):
        reasons.append(
            f"the generator was late: its p99 lag of {show_seconds(lag)} is above"
            f" {show_seconds(max_lag)} and a large part of what it measured; use more processes,"
            " fewer users, or a quieter machine"
        )
    for number, process in enumerate(health.cpu):
        busy = sum(used > BUSY for _, used in process)
        if len(process) >= 4 and busy > BUSY_SHARE * len(process):
            reasons.append(
                f"generator process {number} used a whole core for {busy / len(process):.0%} of"
                " the run; use more processes or fewer clicks"
            )
    return reasons


def _objectives(report: Report, slos: Sequence[Slo]) -> list[Judgement]:
    found = []
    for slo in slos:
        value = slo.measured(report)
        # Infinity has no form in JSON; the text says it.
        finite = value if value != float("inf") else None
        passed = slo.passes(value)
        found.append(Judgement(objective=slo.text, passed=passed, value=finite, shown=slo.show(value)))
    for counter in HARD:
        if any(slo.names(counter) for slo in slos):
            continue
        value = report.counter(counter)
        found.append(
            Judgement(
                objective=parse_slo(f"{counter} == 0").text,
                passed=value == 0,
                value=value,
                shown=f"{value:g}",
                built_in=True,
            )
        )
    return found


def _silence(report: Report) -> TargetError | None:
    """A target that took the clicks and answered none: it refused them, or never said a word."""
    counts = report.counts
    if not counts.get("sent") or counts.get("answered"):
        return None
    if refused := counts.get("errors"):
        said = [name.removeprefix("errors.") for name in counts if name.startswith("errors.")]
        return TargetError(
            f"the target answered none of the {counts['sent']} clicks and refused {refused}"
            + (f": {', '.join(said[:SHOWN])}" if said else "")
        )
    if not counts.get("lost"):
        return None
    heard = counts.get("messages", 0)
    if heard:
        return TargetError(
            f"the target sent {heard} messages but none that the scenario took for an answer to"
            f" one of the {counts['sent']} clicks; does it speak the scenario's format?"
        )
    return TargetError(
        f"the target accepted {counts['sent']} clicks and answered none of them; does it speak the"
        " scenario's format, and is it alive?"
    )


def _exit_code(report: Report, problem: SimulateError | None) -> ExitCode:
    if isinstance(problem, ScenarioError):
        return ExitCode.SCENARIO
    if report.interrupted:
        return ExitCode.INTERRUPTED
    if problem is not None:
        return problem.exit_code
    if report.invalid:
        return ExitCode.INVALID
    if not all(judgement.passed for judgement in report.objectives):
        return ExitCode.FAILED
    return ExitCode.PASSED
