"""The report: one HTML page of a period, with what blocked, what it cost, and a flame graph of stalled time.

The page holds everything it needs; it loads nothing from anywhere.
"""

from __future__ import annotations

import datetime
import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from headgate.watch import flame, wording
from headgate.watch.incidents import Group, Groups
from headgate.watch.model import Incident

MOST: Final = 40
"""Places with a row of their own."""
DOTS: Final = 3000
_HERE: Final = Path(__file__).parent / "page"


def page(incidents: Sequence[Incident], title: str) -> str:
    """The page.

    Args:
        incidents: of the period, oldest first; those of the start-up are told apart.
        title: what was watched.
    """
    told = [each for each in incidents if not each.startup and not each.unfinished]
    groups = Groups(told)
    parts = [
        _head(told, title),
        _tiles(groups, told),
        _timeline(told),
        _flames(told),
        _places(groups),
        _lost(incidents),
    ]
    style = (_HERE / "report.css").read_text(encoding="utf-8")
    script = (_HERE / "report.js").read_text(encoding="utf-8")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_e(title)} – what blocked</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>'
        f"<body><main>{''.join(parts)}</main><script>{script}</script></body></html>\n"
    )


def _head(told: Sequence[Incident], title: str) -> str:
    if not told:
        span = "no stall in this period"
    else:
        first, last = (datetime.datetime.fromtimestamp(each.at) for each in (told[0], told[-1]))
        span = f"{first:%Y-%m-%d %H:%M:%S} – {last:%Y-%m-%d %H:%M:%S}"
    return f"<header><h1>What blocked {_e(title)}</h1><p>{_e(span)}</p></header>"


def _tiles(groups: Groups, told: Sequence[Incident]) -> str:
    processes = len({each.pid for each in told})
    tiles = [
        (str(groups.count), "stalls"),
        (wording.seconds(groups.total), "stalled in all"),
        (wording.seconds(groups.worst), "the longest"),
        (str(len(groups.groups)), "places"),
        (str(processes), "processes"),
    ]
    cells = "".join(f"<div><b>{_e(value)}</b><span>{_e(name)}</span></div>" for value, name in tiles)
    return f'<section class="tiles">{cells}</section>'


def _timeline(told: Sequence[Incident]) -> str:
    """Each stall as a dot: when it was, and how long; the scale of lengths is logarithmic."""
    if not told:
        return ""
    begin, end = told[0].at, max(told[-1].at, told[0].at + 1)
    low = math.log10(max(0.01, min(each.seconds for each in told)) * 0.8)
    high = math.log10(max(each.seconds for each in told) * 1.25)
    dots = []
    for each in told[-DOTS:]:
        x = 60 + 910 * (each.at - begin) / (end - begin)
        y = 170 - 150 * (math.log10(max(each.seconds, 0.01)) - low) / max(high - low, 0.1)
        name = f"{each.call or each.function} {wording.seconds(each.seconds)}"
        place = f'cx="{x:.1f}" cy="{y:.1f}" r="4"'
        dots.append(f'<circle {place} class="{_class(each.cause)}"><title>{_e(name)}</title></circle>')
    ticks = []
    for exponent in range(-2, 4):
        for value in (10.0**exponent, 3 * 10.0**exponent):
            if low <= math.log10(value) <= high:
                y = 170 - 150 * (math.log10(value) - low) / max(high - low, 0.1)
                text = f'<text x="52" y="{y + 4:.1f}">{wording.seconds(value)}</text>'
                ticks.append(f'<line x1="60" x2="980" y1="{y:.1f}" y2="{y:.1f}"/>{text}')
    causes = sorted({each.cause for each in told})
    legend = "".join(f'<li class="{_class(cause)}">{_e(cause)}</li>' for cause in causes)
    return (
        '<section><h2>When, and for how long</h2><svg viewBox="0 0 1000 190" role="img" '
        f'aria-label="stalls over time"><g class="ticks">{"".join(ticks)}</g>{"".join(dots)}</svg>'
        f'<ul class="legend">{legend}</ul></section>'
    )


def _flames(told: Sequence[Incident]) -> str:
    laid = list(flame.boxes(flame.tree(told)))
    if not laid:
        return ""
    depth = max(box.depth for box in laid) + 1
    drawn = "".join(
        f'<div class="box {box.kind}" '
        f'style="left:{box.left * 100:.3f}%;width:{box.width * 100:.3f}%;top:{box.depth * 22}px" '
        f'data-left="{box.left:.6f}" data-width="{box.width:.6f}" data-depth="{box.depth}" tabindex="0" '
        f'title="{_e(box.name)}&#10;{_e(box.place)}&#10;{_e(wording.seconds(box.seconds))}, '
        f'{box.width:.1%} of all">{_e(box.name)}</div>'
        for box in laid
    )
    return (
        "<section><h2>Where the time went</h2><p>Each box is a function; its width is the time for which loops stood "
        "still in it. The lower a box, the deeper in the code. Click one to see it larger, the top one to go back."
        '</p><ul class="legend"><li class="user">your code</li><li class="library">libraries</li>'
        '<li class="stdlib">standard library</li><li class="call">calls in C</li></ul>'
        f'<div class="flame" style="height:{depth * 22}px">{drawn}</div></section>'
    )


def _places(groups: Groups) -> str:
    ranked = groups.ranked()
    rows = "".join(_place(group) for group in ranked[:MOST])
    left = len(ranked) - MOST
    more = f"<p>… and {left} more places.</p>" if left > 0 else ""
    if not rows:
        return "<section><p>Nothing stood still for longer than the threshold.</p></section>"
    return (
        "<section><h2>Places, the costliest first</h2><table><thead><tr><th>place</th><th>cause</th>"
        '<th class="n">stalls</th><th class="n">in all</th><th class="n">longest</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>{more}</section>"
    )


def _place(group: Group) -> str:
    worst = group.worst
    handlers = ", ".join(sorted(group.handlers, key=lambda name: -group.handlers[name])[:4])
    facts = [
        ("in handler", handlers),
        ("at", worst.statement or worst.url),
        ("meanwhile", wording.waited(worst) if worst.sockets or worst.tasks else ""),
        ("seen", "late, GIL-blind" if worst.late else ""),
    ]
    listed = "".join(f"<dt>{name}</dt><dd>{_e(value)}</dd>" for name, value in facts if value)
    stack = "\n".join(worst.stacks[0][1]) if worst.stacks else ""
    code = f"<pre>{worst.number:>5}  {_e(worst.code)}</pre>" if worst.code else ""
    return (
        f'<tr><td><b>{_e(worst.call or worst.function or "?")}</b> <span class="where" title="{_e(worst.place)}">'
        f"{_e(wording.short(worst.file))}:{worst.number} {_e(worst.function)}</span>{code}<dl>{listed}</dl>"
        f'<p class="advice">{_e(worst.advice)}</p>'
        f"<details><summary>whole stack</summary><pre>{_e(stack)}</pre></details>"
        f'</td><td><span class="tag {_class(worst.cause)}">{_e(worst.cause)}</span><br>{_e(worst.kind)}</td>'
        f'<td class="n">{group.count}</td><td class="n">{_e(wording.seconds(group.total))}</td>'
        f'<td class="n">{_e(wording.seconds(worst.seconds))}</td></tr>'
    )


def _lost(incidents: Sequence[Incident]) -> str:
    """What the page leaves out, said."""
    startup = sum(each.startup for each in incidents)
    died = [each for each in incidents if each.unfinished]
    notes = []
    if startup:
        notes.append(f"{startup} stalls belong to the start of processes and are not counted above.")
    if died:
        lines = "".join(f"<li>{_e(wording.line(each))}</li>" for each in died[-20:])
        notes.append(f"Seen while they lasted, or their process died in them:<ul>{lines}</ul>")
    return "".join(f"<section><p>{note}</p></section>" for note in notes)


def _class(cause: str) -> str:
    return "c-" + cause.replace(" ", "-").lower()


def _e(text: str) -> str:
    return html.escape(text, quote=True)
