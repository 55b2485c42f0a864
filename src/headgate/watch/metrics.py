"""The boards of a folder as Prometheus metrics: https://prometheus.io/docs/instrumenting/exposition_formats/"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from headgate.watch.board import H_CAUSES, H_SIGHT, KINDS, R_KIND, R_SINCE, R_WORST, SIGHTS, SUFFIX, BoardView
from headgate.watch.model import CAUSES
from headgate.watch.native import clock


def boards(folder: Path) -> Iterator[BoardView]:
    """The boards of living processes; each is closed when the next one is asked for."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with contextlib.suppress(OSError, ValueError):
            view = BoardView(path)
            try:
                if view.alive():
                    yield view
            finally:
                view.close()


def lines(folder: Path) -> list[str]:
    """Incidents and seconds lost by process and cause, the longest stall and what is blocked now."""
    counts, lost, worst, now, sights = [], [], [], [], []
    for view in boards(folder):
        cells = view.cells
        process = f'process="{_escaped(view.name)}",pid="{view.pid}"'
        for number, cause in enumerate(CAUSES):
            labels = f'{{{process},cause="{cause}"}}'
            at = H_CAUSES + 2 * number
            if cells[at]:
                counts.append(f"headgate_watch_incidents_total{labels} {cells[at]}")
                lost.append(f"headgate_watch_stalled_seconds_total{labels} {cells[at + 1] / 1e9:.6f}")
        for kind, most, busy in _by_kind(view):
            worst.append(f'headgate_watch_worst_seconds{{{process},loop="{kind}"}} {most / 1e9:.6f}')
            now.append(f'headgate_watch_busy_seconds{{{process},loop="{kind}"}} {busy / 1e9:.6f}')
        seeing = int(SIGHTS[cells[H_SIGHT]] == "py-spy")
        sights.append(f"headgate_watch_sees_interpreter_lock{{{process}}} {seeing}")
    return [
        *_family("headgate_watch_incidents_total", "counter", counts),
        *_family("headgate_watch_stalled_seconds_total", "counter", lost),
        *_family("headgate_watch_worst_seconds", "gauge", worst),
        *_family("headgate_watch_busy_seconds", "gauge", now),
        *_family("headgate_watch_sees_interpreter_lock", "gauge", sights),
    ]


def _by_kind(view: BoardView) -> list[tuple[str, int, int]]:
    """(kind, longest stall, longest busy stretch that runs now), ns."""
    cells, now = view.cells, clock()
    found: dict[str, tuple[int, int]] = {}
    for at in view.rows():
        kind = KINDS[cells[at + R_KIND]]
        worst, busy = found.get(kind, (0, 0))
        since = cells[at + R_SINCE]
        found[kind] = (max(worst, cells[at + R_WORST]), max(busy, now - since if since else 0))
    return [(kind, worst, busy) for kind, (worst, busy) in sorted(found.items())]


def _family(name: str, kind: str, samples: list[str]) -> list[str]:
    return [f"# TYPE {name} {kind}", *samples] if samples else []


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
