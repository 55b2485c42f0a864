"""`headgate reload`: a new generation of app and job workers, then the old one finishes."""

from __future__ import annotations

import sys

import click

from headgate.cli.console import complain, out
from headgate.cli.control import ask_supervisor
from headgate.cli.options import chdir_option, loaded, setting_options
from headgate.supervisor.control import Question


@click.command(short_help="Bring in new code.")
@setting_options(("data",))
@click.option("--gateways", is_flag=True, help="New gateways too; sockets move to them little by little.")
@chdir_option
def reload(data: str | None, gateways: bool, chdir: str | None) -> None:
    """Start a new generation of app and job workers and let the old one finish its work.

    Sockets stay open, but for loops (flask-sock, ASGI), which keep the old code and are closed with 1012 when
    reload_timeout is over. With --gateways, after an upgrade of Headgate itself, the old gateways ask their clients
    to connect again (close code 1012), some at a time, over the setting move_timeout. When the new code does not start,
    the old goes on serving, the reason is shown and the exit code is 1. Settings are read at the start alone:
    changing them takes a new `headgate run`.
    """
    settings = loaded({"data": data}, chdir).settings
    reply = ask_supervisor(settings, Question("reload", gateways=gateways), 2 * settings.boot_timeout + 10)
    if not reply.ok:
        complain(f"The new code does not start; the old goes on serving. {reply.failure}", reply.traceback)
        sys.exit(1)
    out().print(f"[green]●[/] Generation {reply.data['generation']} serves.")
