"""`headgate status`: what runs, asked of the supervisor."""

from __future__ import annotations

import json
import time
from typing import Any, Final

import click
import msgspec

from headgate.base.errors import HeadgateError, Unavailable
from headgate.cli.console import out
from headgate.cli.control import ask_supervisor
from headgate.cli.options import chdir_option, loaded, setting_options
from headgate.config.explain import masked
from headgate.config.settings import Settings
from headgate.supervisor.control import Question

EVERY: Final = 1.0
"""Seconds between two looks of `--watch`."""


@click.command(short_help="Show what runs.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, with everything that is known.")
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@click.option("--threads", is_flag=True, help="What each handler that runs is at, and for how long.")
@setting_options(("data",))
@chdir_option
def status(as_json: bool, watch: bool, threads: bool, data: str | None, chdir: str | None) -> None:
    """Show processes, lanes and their handlers, connections and queues of the Headgate on a data folder."""
    settings = loaded({"data": data}, chdir).settings
    if watch:
        _watch(settings)
    elif as_json:
        click.echo(json.dumps(_look(settings), indent=2))
    elif threads:
        from headgate.cli.blocked import threads as busy

        out().print(busy(_look(settings)))
    else:
        from headgate.cli.overview import overview

        out().print(overview(_look(settings)))


def _look(settings: Settings) -> dict[str, Any]:
    seen = ask_supervisor(settings, Question("status")).data
    from headgate.cli import shared

    # The running Headgate's own engine: flags and files may have changed since.
    running = msgspec.structs.replace(settings, broker=seen["broker"])
    if shared.is_shared(running):
        try:
            seen["engine"] = shared.look(running)
        except HeadgateError as exc:
            seen["engine"] = {"failing": str(exc)}
    seen["broker"] = masked(seen["broker"])
    return seen


def _watch(settings: Settings) -> None:
    from rich.live import Live
    from rich.text import Text

    from headgate.cli.overview import overview

    try:
        with Live(overview(_look(settings)), console=out(), auto_refresh=False, screen=out().is_terminal) as live:
            while True:
                time.sleep(EVERY)
                try:
                    live.update(overview(_look(settings)), refresh=True)
                except Unavailable as exc:
                    live.update(Text(str(exc), style="red"), refresh=True)
    except KeyboardInterrupt:
        pass
