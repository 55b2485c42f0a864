"""`headgate stop`: tells the supervisor to end, and waits until it has."""

from __future__ import annotations

import errno
import fcntl
import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from headgate.cli.console import complain, err, out
from headgate.cli.control import ask_supervisor
from headgate.cli.options import chdir_option, loaded, setting_options
from headgate.config.folder import DataFolder
from headgate.supervisor.control import Question


@click.command(short_help="Finish what is under way, then end.")
@click.option("--quick", is_flag=True, help="End at once; unfinished jobs run again at the next start.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the end.")
@setting_options(("data",))
@chdir_option
def stop(quick: bool, no_wait: bool, data: str | None, chdir: str | None) -> None:
    """Let requests and jobs finish within `stop_timeout`, then end all processes."""
    settings = loaded({"data": data}, chdir).settings
    unfinished = [] if quick else under_way(ask_supervisor(settings, Question("status")).data)
    reply = ask_supervisor(settings, Question("stop", quick=quick))
    if unfinished:
        err().print(f"Under way: {', '.join(unfinished)}. They may finish within {settings.stop_timeout:g} s.")
    if no_wait:
        return
    if not _ended(settings.folder, settings.stop_timeout + 20.0):
        complain(f"The supervisor (pid {reply.data['pid']}) still runs; it may have been given a longer stop_timeout.")
        sys.exit(1)
    out().print("Stopped.")


def under_way(status: Mapping[str, Any]) -> list[str]:
    """What an operator waits for: the jobs by name, and how many requests."""
    stats = [(process["role"], process.get("stats") or {}) for process in status["processes"]]
    jobs = [f"the job {facts.get('function') or facts['job']}" for role, facts in stats if facts.get("job")]
    requests = sum(facts.get("busy") or 0 for role, facts in stats if role == "app")
    return [*jobs, *([f"{requests} request{'' if requests == 1 else 's'}"] if requests else [])]


def _ended(folder: DataFolder, seconds: float) -> bool:
    """Wait until the supervisor has let go of its lock; False when that takes longer than so many seconds."""
    deadline = time.monotonic() + seconds
    with open(folder.lock) as lock:
        while time.monotonic() < deadline:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return True
            except OSError as exc:
                if exc.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
            time.sleep(0.05)
    return False
