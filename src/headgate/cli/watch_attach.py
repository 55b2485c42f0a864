"""`headgate watch attach PID`: a process that runs already, read from outside."""

from __future__ import annotations

from collections.abc import Iterator

import click

from headgate.cli.console import err, out
from headgate.cli.durations import seconds_option


@click.command(short_help="Watch a process that runs already.")
@click.argument("pid", type=click.IntRange(min=1))
@seconds_option("--threshold", 0.1, "How long a loop may be busy without turning.")
@seconds_option("--for", 30.0, "How long to watch.")
def attach(pid: int, threshold: float, **rest: float) -> None:
    """Watch process PID by reading its memory, where the system allows that (ptrace: same user, or root).

    Nothing is changed in the process. Lengths are known to some 50 ms; who waited and what was asked of a database
    is not known. `headgate watch run` tells more.
    """
    from headgate.cli.watch_places import places
    from headgate.watch.attach import Attached
    from headgate.watch.incidents import Groups
    from headgate.watch.model import Incident
    from headgate.watch.wording import line

    attached, groups = Attached(pid, threshold), Groups()
    seconds = rest["for"]
    err().print(f"headgate watch: reading process {pid} for {seconds:g} s; Ctrl-C ends it", soft_wrap=True)

    def tell(incidents: Iterator[Incident]) -> None:
        for incident in incidents:
            groups.add(incident)
            out().print(line(incident), markup=False, soft_wrap=True)

    try:
        tell(attached.incidents(seconds))
    except KeyboardInterrupt:
        tell(attached.unfinished())
    if groups.count:
        out().print(places(groups))
    else:
        out().print(f"no loop of process {pid} was busy for longer than the threshold in {attached.looks} looks")
