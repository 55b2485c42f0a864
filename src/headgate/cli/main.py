"""`headgate`: finds the command, runs it, and turns errors into one clear message and an exit code.

Exit codes: 0 done, 1 it failed, 2 a setting, flag or address is wrong; a command may have its own.
"""

from __future__ import annotations

import sys
from typing import Final

import click

from headgate.base.errors import ConfigError, HeadgateError
from headgate.cli.console import complain
from headgate.cli.lazy import LazyGroup

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "run": ("headgate.cli.run", "Start everything: gateways, app workers, broker, job workers."),
    "status": ("headgate.cli.status", "Show what runs, the lanes, the connections and the queues."),
    "reload": ("headgate.cli.reload", "Bring in new code without closing a socket."),
    "stop": ("headgate.cli.stop", "Finish what is under way, then end."),
    "jobs": ("headgate.cli.jobs", "List, show, retry, cancel, purge, count and watch jobs."),
    "queues": ("headgate.cli.queues", "Show, pause, resume, drain and bound queues."),
    "broker": ("headgate.cli.broker", "Copy all jobs and streams from one engine to another."),
    "config": ("headgate.cli.config", "Show every setting and where it came from."),
    "simulate": ("headgate.cli.simulate", "Let many users click on a server, and report what they felt."),
    "watch": ("headgate.cli.watch", "Name what blocks any Python service, live and in a report."),
    "deploy": ("headgate.cli.deploy", "Write, verify and install the deployment of an app on a server."),
    "doctor": ("headgate.cli.doctor", "Find what is wrong with a deployment, ours or any other."),
    "version": ("headgate.cli.version", "Show the versions of Headgate and of what it runs on."),
}
"""Command → its module, which holds it under the same name, and its line in the help."""


@click.group(cls=LazyGroup, commands_table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Your Flask code may block. Your sockets never do."""


def main() -> None:
    """The entry point; does not return.

    Raises:
        SystemExit: with the exit code.
    """
    try:
        cli.main(prog_name="headgate", standalone_mode=True)
    except ConfigError as exc:
        complain(str(exc))
        sys.exit(2)
    except HeadgateError as exc:
        complain(str(exc))
        sys.exit(1)
    except BrokenPipeError:  # `headgate status | head`: the reader has seen enough
        sys.stderr.close()
        sys.exit(1)
