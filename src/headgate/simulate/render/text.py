"""A report on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headgate.simulate.amounts import show_seconds
from headgate.simulate.compare import Comparison
from headgate.simulate.report import Report

COLOURS = {"passed": "green", "failed": "red", "invalid": "yellow"}


def print_report(report: Report, console: Console | None = None) -> None:
    """Print what a person wants to know after a run."""
    console = console or Console(highlight=False)
    colour = COLOURS.get(report.verdict, "red")
    console.print(
        f"[bold {colour}]{report.verdict.upper()}[/]  {report.target}  "
        f"{report.users} users, {report.rate}, {report.heavy:.0%} heavy, "
        f"{report.seconds:.0f} s, seed {report.seed}",
        soft_wrap=True,
    )
    if report.problem:
        console.print(Text(report.problem, style="red"), soft_wrap=True)
    for reason in report.invalid:
        console.print(Text(f"INVALID: {reason}", style="yellow"), soft_wrap=True)
    if report.series:
        console.print(_latencies(report))
    console.print(_counts(report), soft_wrap=True)
    for cause, number in report.lost_by_cause.items():
        console.print(f"  lost {number}: {cause}")
    for name, number in report.counts.items():
        if name.startswith("errors."):
            console.print(f"  error {number}: {name.removeprefix('errors.')}")
    for close, number in report.closes.items():
        console.print(f"  disconnected {number}: {close}")
    for judgement in report.objectives:
        if judgement.passed and judgement.built_in:
            continue
        sign = "[green]✓[/]" if judgement.passed else "[red]✗[/]"
        console.print(f"  {sign} {judgement.objective}   ({judgement.shown})")
    health = report.generator
    console.print(
        f"[dim]generator: {health.processes} process(es), lag p99 {show_seconds(health.lag_p99)},"
        f" worst {show_seconds(health.lag_max)}, CPU {health.cpu_mean:.0%} of a core each[/]",
        soft_wrap=True,
    )


def _latencies(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("from the intended click")
    for name in ("count", "p50", "p90", "p99", "p99.9", "max"):
        table.add_column(name, justify="right")
    for name, latency in report.series.items():
        label = f"{name.removesuffix('.service')} (from sending)" if name.endswith(".service") else name
        times = [latency.percentiles[p] for p in ("50", "90", "99", "99.9")]
        shown = [show_seconds(t) for t in (*times, latency.max)]
        style = "dim" if name.endswith(".service") else ""
        table.add_row(label, str(latency.count), *shown, style=style)
    return table


def _counts(report: Report) -> str:
    wanted = ("clicks", "answered", "results", "errors", "lost", "duplicated", "out_of_order")
    more = ("misdelivered", "disconnects", "reconnects", "retried", "connect_failed", "abandoned", "withheld")
    parts = [f"{name} {report.counts.get(name, 0)}" for name in wanted]
    parts += [f"{name} {report.counts[name]}" for name in more if report.counts.get(name)]
    return " · ".join(parts)


def print_comparison(comparison: Comparison, console: Console | None = None) -> None:
    """Print two runs side by side."""
    console = console or Console(highlight=False)
    for difference in comparison.differences:
        console.print(Text(f"not the same experiment — {difference}", style="yellow"))
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    for name in (*comparison.names, "ratio", ""):
        table.add_column(name, justify="right")
    colours = {"slower": "red", "worse": "red", "faster": "green", "better": "green"}
    for row in comparison.rows:
        ratio = "" if row.ratio is None else f"×{row.ratio:.2f}"
        verdict = Text(row.verdict, style=colours.get(row.verdict, "dim"))
        table.add_row(row.name, row.first, row.second, ratio, verdict)
    console.print(table)
