"""`headgate watch`: what blocks a service, seen while it runs. One file per command below it."""

from __future__ import annotations

from typing import Final

import click

from headgate.cli.lazy import LazyGroup

COMMANDS: Final = {
    "run": ("headgate.cli.watch_run", "Run any Python service, and name what blocks it."),
    "top": ("headgate.cli.watch_top", "Show all watched processes, live."),
    "report": ("headgate.cli.watch_report", "Make a page of what blocked, with a flame graph."),
    "attach": ("headgate.cli.watch_attach", "Watch a process that runs already."),
}


@click.group(cls=LazyGroup, commands_table=COMMANDS, short_help="Name what blocks a service.")
def watch() -> None:
    """Catch blocking calls in the act, on asyncio, uvloop, eventlet, gevent and threads, and name them.

    Headgate's own processes are watched always (setting `watch`). Any other Python service is, without a
    change to its code, when it is started by `headgate watch run -- COMMAND`.
    """
