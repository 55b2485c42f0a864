"""`headgate broker copy`: moving between engines."""

from __future__ import annotations

from pathlib import Path

import click

from headgate.cli.console import out
from headgate.cli.options import chdir_option, loaded


@click.group(short_help="Move between engines.")
def broker() -> None:
    """Look after the engine itself."""


@broker.command("copy", short_help="Copy all jobs and streams to a Redis.")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target")
@chdir_option
def copy(source: Path, target: str, chdir: str | None) -> None:
    """Copy all that the embedded broker's file SOURCE holds to the Redis at the URL TARGET.

    SOURCE is a file such as .headgate/broker.db, whose Headgate has been stopped. Jobs keep their ids, states,
    results, streams and idempotency keys; what ran is queued there. The source is not emptied. A copy that was cut off
    can be begun again: what is there already is left as it is.
    """
    from headgate.config.explain import masked
    from headgate.roles.moving import copy as moved

    done = moved(source, target, loaded({}, chdir).settings)
    known = f", {done.known} that were there already" if done.known else ""
    ran = f" ({done.released} of them had been running)" if done.released else ""
    out().print(f"{done.jobs} jobs{ran} and {done.streams} streams copied to {masked(target)}{known}.")
