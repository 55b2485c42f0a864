"""Plots as inline SVG: lines stretch with the page, labels keep their size.

The SVG has no aspect ratio of its own; labels are HTML placed in percent over it. So one plot reads
well on a telephone and on a wide screen, without a script.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

Point = tuple[float, float]
WIDTH: Final = 1000.0
HEIGHT: Final = 300.0


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values to 0…1; logarithmic ones want values above zero."""

    low: float
    high: float
    log: bool = False

    def __call__(self, value: float) -> float:
        if self.log:
            value = max(value, self.low)
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def linear(values: Iterable[float], *, least: float = 1.0) -> Scale:
    """From zero to a round number above all values."""
    top = max(max(values, default=0.0), least)
    unit = 10 ** math.floor(math.log10(top))
    step = next(s for s in (1, 2, 2.5, 5, 10) if s * unit >= top)
    return Scale(0.0, step * unit)


def logarithmic(values: Iterable[float]) -> Scale:
    """Powers of ten around all values above zero."""
    positive = [v for v in values if v > 0] or [0.001, 0.01]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    return Scale(10.0**low, 10.0 ** max(high, low + 1), log=True)


def ticks(scale: Scale) -> list[float]:
    """Round values to label."""
    if scale.log:
        count = round(math.log10(scale.high / scale.low))
        steps = (1, 2, 5) if count == 1 else (1,)
        return [scale.low * 10**i * step for i in range(count) for step in steps] + [scale.high]
    return [scale.low + (scale.high - scale.low) * i / 4 for i in range(5)]


@dataclass(slots=True)
class Line:
    """One series: its points in order of x, its name in the legend, its colour class (c1 … c6)."""

    name: str
    points: Sequence[Point]
    colour: str
    area: bool = False


@dataclass(slots=True)
class Plot:
    """One plot.

    Args:
        title: above it.
        x, y: the scales.
        x_ticks: (value, label) along the bottom.
        show: writes a y value.
        marks: vertical lines; each bears its number and, under the pointer, its text.
        hints: (from x, to x, text) shown under the pointer.
    """

    title: str
    x: Scale
    y: Scale
    x_ticks: Sequence[tuple[float, str]]
    show: Callable[[float], str]
    lines: list[Line] = field(default_factory=list)
    marks: Sequence[tuple[float, str]] = ()
    hints: Sequence[tuple[float, float, str]] = ()
    note: str = ""

    def html(self) -> str:
        """The plot as an HTML figure."""
        legend = "".join(f'<span class="key {line.colour}">{escape(line.name)}</span>' for line in self.lines)
        note = f'<p class="note">{escape(self.note)}</p>' if self.note else ""
        return (
            f'<figure class="plot"><figcaption>{escape(self.title)}<span class="legend">{legend}</span></figcaption>'
            f'<div class="canvas">{self._svg()}{self._labels()}</div>{note}</figure>'
        )

    def _svg(self) -> str:
        parts = [f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" preserveAspectRatio="none" role="img">']
        parts.append(f"<title>{escape(self.title)}</title>")
        for value in ticks(self.y):
            y = self._y(value)
            parts.append(f'<line class="grid" x1="0" x2="{WIDTH:g}" y1="{y:.1f}" y2="{y:.1f}"/>')
        for at, _ in self.marks:
            x = self._x(min(at, self.x.high))
            parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT:g}"/>')
        parts += [self._path(line) for line in self.lines]
        for start, end, text in self.hints:
            x0, x1 = self._x(start), self._x(end)
            parts.append(
                f'<rect class="hint" x="{x0:.1f}" width="{max(x1 - x0, 0.5):.1f}" y="0" height="{HEIGHT:g}">'
                f"<title>{escape(text)}</title></rect>"
            )
        parts.append("</svg>")
        return "".join(parts)

    def _path(self, line: Line) -> str:
        if not line.points:
            return ""
        spots = [f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in line.points]
        drawn = f'<polyline class="line {line.colour}" points="{" ".join(spots)}"/>'
        if len(spots) == 1:
            x, y = spots[0].split(",")
            drawn = f'<line class="line dot {line.colour}" x1="{x}" x2="{x}" y1="{y}" y2="{y}"/>'
        if line.area and len(spots) > 1:
            first, last = self._x(line.points[0][0]), self._x(line.points[-1][0])
            corners = f"{first:.1f},{HEIGHT:g} {' '.join(spots)} {last:.1f},{HEIGHT:g}"
            drawn = f'<polygon class="area {line.colour}" points="{corners}"/>' + drawn
        return drawn

    def _labels(self) -> str:
        parts = []
        for value in ticks(self.y):
            parts.append(f'<span class="y" style="bottom:{self.y(value):.2%}">{escape(self.show(value))}</span>')
        for at, text in self.x_ticks:
            parts.append(f'<span class="x" style="left:{self.x(at):.2%}">{escape(text)}</span>')
        for number, (at, text) in enumerate(self.marks, start=1):
            left = self.x(min(at, self.x.high))
            parts.append(f'<span class="tag" style="left:{left:.2%}" title="{escape(text)}">{number}</span>')
        return "".join(parts)

    def _x(self, value: float) -> float:
        return self.x(value) * WIDTH

    def _y(self, value: float) -> float:
        return HEIGHT * (1 - min(max(self.y(value), 0.0), 1.0))


def time_ticks(seconds: float) -> list[tuple[float, str]]:
    """Labels for an axis of time since the start."""
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400)
    step = next((s for s in steps if seconds / s <= 6), steps[-1])
    found = [float(i * step) for i in range(int(seconds / step) + 1)]
    return [(t, f"{t:g} s" if seconds < 180 else f"{int(t // 60)}:{int(t % 60):02}") for t in found]
