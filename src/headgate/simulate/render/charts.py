"""Which plots a report has: latency over time and its distribution, the traffic, the generator, the server."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10
from typing import Final

from headgate.simulate.amounts import show_seconds
from headgate.simulate.render.plot import Line, Plot, Scale, linear, logarithmic, time_ticks
from headgate.simulate.report import Moment, Report

COLOURS: Final = ("c1", "c2", "c3", "c4", "c5", "c6")
MOST_POINTS: Final = 600
QUANTILES: Final = (0.5, 0.9, 0.99, 0.999, 0.9999)


def charts(report: Report) -> list[Plot]:
    """The plots of one run, in the order in which they answer questions."""
    found = [latency_over_time(report, name) for name in report.series if not name.endswith(".service")]
    if report.series:
        found.append(distribution([(report, "")]))
    if report.timeline:
        found.append(traffic(report))
    if any(report.generator.cpu):
        found.append(generator(report))
    found += server(report)
    return [plot for plot in found if any(line.points for line in plot.lines)]


def _time(report: Report) -> Scale:
    """One axis for all plots over time: to the end of the clicking, or to the last that is known of the server.

    Answers that came after the clicking are in the counts; an axis that goes on for them alone shows nothing.
    """
    last = max((second.at + 1 for second in report.timeline), default=1)
    known = [sample.at for sample in report.server] + [mark.at for mark in report.marks]
    return Scale(0.0, max(report.seconds or float(last), 1.0, *known))


def _marks(report: Report) -> list[tuple[float, str]]:
    return [(mark.at, mark.text) for mark in report.marks]


def latency_over_time(report: Report, series: str) -> Plot:
    """p50, p99 and the worst of each second in which clicks were meant to happen."""
    width = max(round(report.seconds / MOST_POINTS), 1)
    seconds = _binned([(s.at, s.series[series]) for s in report.timeline if series in s.series and s.at >= 0], width)
    values = [value for _, moment in seconds for value in (moment.p50, moment.max)]
    x = _time(report)
    lines = [
        Line("worst", [(at + width / 2, m.max) for at, m in seconds], "c3"),
        Line("p99", [(at + width / 2, m.p99) for at, m in seconds], "c2"),
        Line("p50", [(at + width / 2, m.p50) for at, m in seconds], "c1"),
    ]
    hints = [
        (
            float(at),
            float(at + width),
            f"{at}–{at + width} s: {m.count} × {series}\np50 {show_seconds(m.p50)}"
            f"\np99 {show_seconds(m.p99)}\nworst {show_seconds(m.max)}",
        )
        for at, m in seconds
    ]
    ticks = time_ticks(x.high)
    title = f"{series}: latency over time" + (f" (each {width} s: the worst second's p99)" if width > 1 else "")
    return Plot(title, x, logarithmic(values), ticks, show_seconds, lines, _marks(report), hints)


def _binned(seconds: Sequence[tuple[int, Moment]], width: int) -> list[tuple[int, Moment]]:
    """Seconds put together for a long run; the worst of each bin is kept, for it must not vanish from the plot."""
    if width == 1:
        return list(seconds)
    bins: dict[int, list[Moment]] = {}
    for at, found in seconds:
        bins.setdefault(at // width * width, []).append(found)
    return [(at, _together(moments)) for at, moments in sorted(bins.items())]


def _together(moments: Sequence[Moment]) -> Moment:
    count = sum(m.count for m in moments)
    middle = sum(m.p50 * m.count for m in moments) / max(count, 1)
    return Moment(count=count, p50=middle, p99=max(m.p99 for m in moments), max=max(m.max for m in moments))


def distribution(reports: Sequence[tuple[Report, str]]) -> Plot:
    """Each series' time by percentile; every step to the right leaves out ten times fewer clicks."""
    lines: list[Line] = []
    for number, (report, prefix) in enumerate(reports):
        names = [name for name in report.series if not name.endswith(".service")]
        for index, name in enumerate(names):
            colour = COLOURS[(index if len(reports) == 1 else number + 2 * index) % len(COLOURS)]
            lines.append(Line(prefix + name, _quantiles(report, name), colour))
    values = [y for line in lines for _, y in line.points]
    labels = ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"]
    ticks = [(_depth(q), label) for q, label in zip(QUANTILES, labels, strict=True)]
    x = Scale(0.0, _depth(QUANTILES[-1]))
    return Plot("distribution: so many clicks took at most so long", x, logarithmic(values), ticks, show_seconds, lines)


def _depth(quantile: float) -> float:
    """Where a quantile stands: as many decades as it has nines, the median a third of the way to the first."""
    return -log10(max(1 - quantile, 1e-9))


def _quantiles(report: Report, series: str) -> list[tuple[float, float]]:
    histogram = report.histogram(series)
    points, seen, deepest = [], 0, _depth(QUANTILES[-1])
    for value, count in histogram.buckets():
        points.append((_depth(seen / histogram.count), value))
        seen += count
    points.append((min(_depth(1 - 0.5 / max(histogram.count, 1)), deepest), histogram.max))
    return _thinned([(x, y) for x, y in points if x <= deepest])


def _thinned(points: list[tuple[float, float]], most: int = 400) -> list[tuple[float, float]]:
    step = max(len(points) // most, 1)
    return points[::step] + ([points[-1]] if points and (len(points) - 1) % step else [])


def traffic(report: Report) -> Plot:
    """Clicks, answers and what went wrong, per second."""
    x = _time(report)
    names = (("clicks", "c1"), ("answered", "c4"), ("results", "c5"), ("errors", "c2"), ("lost", "c3"))
    lines = []
    for name, colour in (*names, ("disconnects", "c6")):
        if report.counts.get(name):
            points = [(s.at + 0.5, float(s.counts.get(name, 0))) for s in report.timeline if 0 <= s.at < x.high]
            lines.append(Line(name, points, colour, area=name == "clicks"))
    y = linear(v for line in lines for _, v in line.points)
    hints = [
        (float(s.at), s.at + 1.0, f"{s.at}–{s.at + 1} s\n" + "\n".join(f"{k} {v}" for k, v in s.counts.items()))
        for s in report.timeline
        if s.at >= 0
    ]
    return Plot("events per second", x, y, time_ticks(x.high), _number, lines, _marks(report), hints)


def generator(report: Report) -> Plot:
    """The CPU of the generator's own processes: at one core it measures itself."""
    x = _time(report)
    lines = [
        Line(f"process {number}", points, COLOURS[number % len(COLOURS)], area=number == 0)
        for number, points in enumerate(report.generator.cpu)
    ]
    health = report.generator
    note = f"schedule lag p99 {show_seconds(health.lag_p99)}, worst {show_seconds(health.lag_max)}"
    y = linear((v for line in lines for _, v in line.points), least=1.0)
    return Plot(
        "self-check: the generator's CPU (1 = a whole core)", x, y, time_ticks(x.high), _number, lines, note=note
    )


def server(report: Report) -> list[Plot]:
    """The server's own numbers on the same timeline; those of one kind (`kind.name`) share a plot."""
    kinds: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for sample in report.server:
        for name, value in sample.values.items():
            kind, _, item = name.partition(": ")
            kinds.setdefault(kind, {}).setdefault(item or kind, []).append((sample.at, value))
    x, found = _time(report), []
    for kind, items in kinds.items():
        lines = [Line(n, p, COLOURS[i % len(COLOURS)]) for i, (n, p) in enumerate(items.items())]
        y = linear(v for line in lines for _, v in line.points)
        found.append(Plot(f"server: {kind}", x, y, time_ticks(x.high), _number, lines, _marks(report)))
    return found


def _number(value: float) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g} M"
    return f"{value / 1000:g} k" if value >= 10_000 else f"{value:g}"
