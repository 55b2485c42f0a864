"""`headgate jobs purge|stats|watch`: forgetting ended jobs, counting jobs, looking on."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from headgate.base.model import JobState
from headgate.base.ports import Engine
from headgate.cli.console import out
from headgate.cli.engine import where_options, with_engine

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

ENDED: Final = [state for state in JobState if state.terminal]
SHOWN: Final = 10
"""Jobs of a kind in the live view."""
AT_ONCE: Final = 1_000
"""Jobs forgotten in one commit, so that a large purge holds nobody up."""


@click.command("purge")
@click.option(
    "--state",
    "states",
    multiple=True,
    required=True,
    type=click.Choice([state.value for state in ENDED]),
    help="Forget jobs that ended so; may be given several times.",
)
@click.option("--queue", help="Only of this queue.")
@click.option("--older", default=0.0, metavar="SECONDS", help="Only those that ended so long ago.")
@where_options
def purge(states: tuple[str, ...], queue: str | None, older: float, **where: str | None) -> None:
    """Forget ended jobs, their results and their streams."""

    async def forget(engine: Engine) -> int:
        wanted, gone = [JobState(state) for state in states], 0
        while True:
            some = await engine.operations.purge(wanted, queue=queue, older=older, most=AT_ONCE)
            gone += some
            if some < AT_ONCE:
                return gone

    out().print(f"{with_engine(forget, **where)} jobs forgotten.")


@click.command("stats")
@click.option("--json", "as_json", is_flag=True, help="As JSON: queue → state → count.")
@where_options
def stats(as_json: bool, **where: str | None) -> None:
    """Count jobs by queue and state."""
    counts = with_engine(lambda engine: engine.jobs.stats(), **where)
    if as_json:
        click.echo(json.dumps(counts))
    elif counts:
        out().print(table_of(counts))
    else:
        out().print("There are no jobs.")


@click.command("watch")
@click.option("--every", default=1.0, show_default=True, metavar="SECONDS", help="Time between two looks.")
@click.option("--looks", type=click.IntRange(1), help="End after so many looks; default: when it is interrupted.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per look.")
@where_options
def watch(every: float, looks: int | None, as_json: bool, **where: str | None) -> None:
    """Look on: counts by queue and state, jobs ended per second, what runs and how far, what failed last."""

    async def look_on(engine: Engine) -> None:
        await _json_looks(engine, every, looks) if as_json else await _live_looks(engine, every, looks)

    try:
        with_engine(look_on, **where)
    except KeyboardInterrupt:
        return


def table_of(counts: Mapping[str, Mapping[str, int]], rate: float | None = None) -> Table:
    """Counts as a table, one line per queue."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("queue", min_width=8)
    for state in JobState:
        table.add_column(state.value, justify="right")
    for queue, by_state in counts.items():
        table.add_row(queue, *(f"{by_state.get(state.value, 0):,}" for state in JobState))
    if rate is not None:
        table.caption = f"{rate:.1f} jobs end per second"
    return table


class Pace:
    """How many jobs end per second, between two looks."""

    def __init__(self) -> None:
        self._seen: tuple[float, int] | None = None

    def at(self, now: float, counts: Mapping[str, Mapping[str, int]]) -> float:
        ended = sum(by_state.get(state.value, 0) for by_state in counts.values() for state in ENDED)
        before, self._seen = self._seen, (now, ended)
        if before is None or now <= before[0]:
            return 0.0
        # Records whose time is over vanish from the count; that is no negative work.
        return max(0.0, (ended - before[1]) / (now - before[0]))


async def _json_looks(engine: Engine, every: float, looks: int | None) -> None:
    pace, done = Pace(), 0
    while True:
        counts = await engine.jobs.stats()
        rate = pace.at(time.monotonic(), counts)
        line: dict[str, Any] = {"at": time.time(), "jobs": counts, "ended_per_second": round(rate, 2)}
        click.echo(json.dumps(line))
        done += 1
        if done == looks:
            return
        await asyncio.sleep(every)


async def _live_looks(engine: Engine, every: float, looks: int | None) -> None:
    from rich.live import Live

    pace, done = Pace(), 0
    with Live(console=out(), auto_refresh=False) as live:
        while True:
            live.update(await _view(engine, pace), refresh=True)
            done += 1
            if done == looks:
                return
            await asyncio.sleep(every)


async def _view(engine: Engine, pace: Pace) -> Group:
    from rich.console import Group
    from rich.text import Text

    from headgate.cli.jobview import at_work, dead_letters

    counts, now = await engine.jobs.stats(), time.time()
    parts: list[Any] = [table_of(counts, pace.at(time.monotonic(), counts))]
    for state, view in ((JobState.RUNNING, at_work), (JobState.FAILED, dead_letters)):
        if records := await engine.jobs.find(states=[state], most=SHOWN):
            parts += [Text(), view(records, now)]
    return Group(*parts)
