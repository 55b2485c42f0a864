"""`headgate watch run -- COMMAND`: any Python service under watch, with no change to its code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from headgate.base.errors import ConfigError
from headgate.cli.console import err
from headgate.cli.durations import seconds_option


@click.command(
    short_help="Run any Python service, and name what blocks it.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@seconds_option("--threshold", 0.1, "How long a loop may be busy without turning.")
@seconds_option("--handler-threshold", 1.0, "How long a handler may run in a thread (gthread, flask run, Celery).")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="Where incidents are kept.")
@click.option("--metrics", metavar="HOST:PORT", default="", help="Serve Prometheus metrics there.")
@click.option("--quiet", is_flag=True, help="No line per incident; only the end's summary.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def run(
    threshold: float,
    handler_threshold: float,
    folder: Path | None,
    metrics: str,
    quiet: bool,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND: gunicorn, uvicorn, celery, flask, python – whatever starts Python processes.

    Each of them watches its own loops and hubs; this process looks at them from outside, which names also what
    holds the interpreter lock. A line on standard error tells of each place that blocks. The exit code is the
    command's.
    """
    from headgate.watch import folders, parent

    place = folder or folders.for_run(command[0])
    with _serving(metrics, place):
        ended = parent.run(
            command, place, threshold=threshold, handler_threshold=handler_threshold, quiet=quiet, died=_died
        )
    _summary(place, ended)
    sys.exit(ended.code)


def _died(incident: Any) -> None:
    from headgate.watch.wording import line

    err().print(f"headgate watch: process {incident.pid} died while {line(incident)}", markup=False, soft_wrap=True)


def _serving(address: str, folder: Path) -> Any:
    from contextlib import nullcontext

    if not address:
        return nullcontext()
    from headgate.watch.exporter import serve

    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise ConfigError(f"--metrics {address}: write HOST:PORT, such as 127.0.0.1:9100")
    return serve(folder, host or "127.0.0.1", int(port))


def _summary(folder: Path, ended: Any) -> None:
    from headgate.cli.watch_places import places
    from headgate.watch import journal
    from headgate.watch.incidents import Groups

    groups = Groups(each for each in journal.read(folder) if not each.startup and not each.unfinished)
    if not ended.sights:
        err().print(
            "headgate watch: no loop ran under watch. The command's Python processes must honour PYTHONPATH: "
            "not the flags -I, -E or -S.",
            soft_wrap=True,
        )
    blind = sorted({problem for sight, problem in ended.sights.values() if sight not in ("py-spy", "")})
    for problem in blind:
        err().print(f"headgate watch: late, GIL-blind: {problem}", markup=False, soft_wrap=True)
    if groups.count:
        err().print(places(groups))
        err().print(f"  the page: headgate watch report {folder}", markup=False, soft_wrap=True)
    elif ended.sights:
        err().print("headgate watch: nothing blocked for longer than the threshold.")
