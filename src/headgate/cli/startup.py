"""The table that `headgate run` shows once everything serves."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from headgate.cli.shared import promise


def table(status: dict[str, Any], engine: Mapping[str, Any] | None = None) -> RenderableType:
    """The start-up table.

    Args:
        status: as the supervisor gives it.
        engine: what a shared engine says of itself.
    """
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for address in status["addresses"]:
        grid.add_row("listening", Text(address, style="bold cyan"))
    grid.add_row("app", status["app"] or "–")
    grid.add_row("processes", _processes(status))
    grid.add_row("queues", _queues(status))
    grid.add_row("broker", _broker(status) if engine is None else promise(engine))
    grid.add_row("data", status["data"])
    head = Text.assemble(
        ("● ", "bold green"), ("Headgate ", "bold"), (status["version"], "bold"), " serves", _pid(status)
    )
    where = "" if Path(status["data"]) == Path.cwd() / ".headgate" else f" --data {_near(status['data'])}"
    foot = Text(f"Ctrl-C stops · headgate status{where} shows what runs · headgate reload{where} takes new code")
    foot.stylize("dim")
    return Group(head, Padding(grid, (0, 0, 0, 2), expand=False), Padding(foot, (0, 0, 0, 2), expand=False))


def _near(path: str) -> str:
    """As one would type it from here."""
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path


def _pid(status: dict[str, Any]) -> tuple[str, str]:
    return (f"  (pid {status['pid']}, started in {status['uptime']:.1f} s)", "dim")


def _processes(status: dict[str, Any]) -> str:
    """`1 gateway · 2 app fast · 1 app slow · 1 broker · 2 job workers`."""
    counts = Counter((process["role"], process["lane"]) for process in status["processes"])
    parts = [f"{count} {_kind(role, lane, count)}" for (role, lane), count in counts.items()]
    return " · ".join(parts)


def _kind(role: str, lane: str | None, count: int) -> str:
    many = "" if count == 1 else "s"
    if role == "app":
        return f"app worker{many} ({lane} lane)"
    named = {"jobs": "job worker", "gateway": "gateway", "rq": "RQ worker", "celery": "Celery worker"}
    return f"{named[role]}{many}" if role in named else role


def _queues(status: dict[str, Any]) -> str:
    if not any(process["role"] == "jobs" for process in status["processes"]):
        return "none served here"
    return "all" if status["queues"] == ["*"] else ", ".join(status["queues"])


def _broker(status: dict[str, Any]) -> str:
    meaning = {"embedded": "embedded (SQLite, on disk)", "memory": "in memory: jobs end with it"}
    url = str(status["broker"])
    return meaning.get(url, url)
