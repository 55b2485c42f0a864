"""`headgate watch top`: all watched processes, live."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Group, RenderableType
from rich.text import Text

from headgate.cli.console import out
from headgate.cli.options import chdir_option, loaded
from headgate.cli.tables import section, table
from headgate.cli.watch_places import places
from headgate.watch import board, folders, journal
from headgate.watch.board import H_OBSERVER, H_SIGHT, KINDS, R_COUNT, R_KIND, R_SINCE, R_STALLED, R_WORST, SIGHTS
from headgate.watch.incidents import Groups
from headgate.watch.metrics import boards
from headgate.watch.native import clock
from headgate.watch.wording import line, seconds

EVERY: Final = 0.5
LAST: Final = 6
"""Incidents shown one by one."""


@click.command(short_help="Show all watched processes, live.")
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--once", is_flag=True, help="Print it once and end.")
@chdir_option
def top(folder: Path | None, once: bool, chdir: str | None) -> None:
    """Show every watched process of this user: what it does now, how often and for how long it was blocked."""
    from rich.live import Live

    if once:
        out().print(view(_folders(folder, chdir)))
        return
    try:
        with Live(view(_folders(folder, chdir)), console=out(), auto_refresh=False, screen=out().is_terminal) as live:
            while True:
                time.sleep(EVERY)
                live.update(view(_folders(folder, chdir)), refresh=True)
    except KeyboardInterrupt:
        pass


def _folders(folder: Path | None, chdir: str | None) -> list[Path]:
    if folder is not None:
        return [folder]
    own = loaded({}, chdir).settings.folder.watch
    return [own, *folders.runs()]


def view(where: list[Path]) -> RenderableType:
    """What `top` shows of these folders."""
    rows = table("process", ">pid", "loop", "now", ">stalls", ">in all", ">longest", "sees the interpreter lock")
    incidents, found = [], 0
    for folder in where:
        before = found
        for each in boards(folder):
            found += 1
            _process(rows, each)
        if found > before:
            incidents += list(journal.read(folder))
    if not found:
        return Text(
            "no watched process: start one with `headgate watch run -- COMMAND`, or `headgate run`", style="dim"
        )
    told = [each for each in sorted(incidents, key=lambda each: each.at) if not each.startup]
    parts = [section(rows)]
    if told:
        parts.append(places(Groups(told), most=8))
        parts += [
            Text.assemble((f"  {time.strftime('%H:%M:%S', time.localtime(each.at))}  ", "dim"), line(each))
            for each in told[-LAST:]
        ]
    return Group(*parts)


def _process(rows: Any, view: board.BoardView) -> None:
    cells, now = view.cells, clock()
    kinds: dict[str, list[int]] = {}
    for at in view.rows():
        kinds.setdefault(KINDS[cells[at + R_KIND]], []).append(at)
    for kind, ats in kinds.items():
        busy = [now - cells[at + R_SINCE] for at in ats if cells[at + R_SINCE]]
        rows.add_row(
            Text(view.name[:40]),
            str(view.pid),
            kind if len(ats) == 1 else f"{len(ats)} {kind}s",
            _now(max(busy, default=0) / 1e9, kind),
            str(sum(cells[at + R_COUNT] for at in ats)),
            seconds(sum(cells[at + R_STALLED] for at in ats) / 1e9),
            seconds(max(cells[at + R_WORST] for at in ats) / 1e9),
            _sight(cells, now),
        )


def _now(busy: float, kind: str) -> Text:
    if not busy:
        return Text("idle", style="dim")
    blocked = busy > (1.0 if kind == "thread" else 0.1)
    return Text(f"{'blocked' if blocked else 'busy'} {seconds(busy)}", style="bold red" if blocked else "green")


def _sight(cells: memoryview, now: int) -> Text:
    sight = SIGHTS[cells[H_SIGHT]] if now - cells[H_OBSERVER] < 3e9 else ""
    return Text("yes", style="green") if sight == "py-spy" else Text("late, GIL-blind", style="yellow")
