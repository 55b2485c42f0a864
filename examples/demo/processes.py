"""What `headgate status` knows, as the tiles of the page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from headgate.base.errors import HeadgateError
from headgate.config.folder import DataFolder
from headgate.supervisor.control import Question, ask

_ORDER: Final = ("gateway", "app", "jobs", "broker")
"""From the browser inwards."""
_PATIENCE: Final = 2.0
"""Seconds that the supervisor has for its answer."""


class Processes:
    """Asks the supervisor of the data folder that the environment names."""

    def __init__(self) -> None:
        self._control = DataFolder(Path(os.environ.get("HEADGATE_DATA", ".headgate")).resolve()).control

    def tiles(self) -> list[dict[str, Any]] | None:
        """One tile per process; None while the supervisor does not answer."""
        try:
            status = ask(self._control, Question("status"), _PATIENCE).data
        except HeadgateError:
            return None
        processes = sorted(status["processes"], key=lambda each: (_ORDER.index(each["role"]), each["place"]))
        return [tile(process) for process in processes]


def tile(process: Mapping[str, Any]) -> dict[str, Any]:
    """A process of the status as the page shows it."""
    role, lane, stats = process["role"], process["lane"], process.get("stats", {})
    name, does, working = {"gateway": _gateway, "app": _app, "jobs": _jobs, "broker": _broker}[role](lane, stats)
    if process["state"] != "serving":
        does = {"booting": "is starting", "leaving": "finishes its work"}.get(process["state"], process["state"])
    return {"name": name, "kind": lane or role, "pid": process["pid"], "does": does, "working": working}


_Tile = tuple[str, str, bool]


def _gateway(_: str | None, stats: Mapping[str, Any]) -> _Tile:
    return "Gateway", f"holds {stats.get('sockets', 0)} sockets", False


def _app(lane: str | None, stats: Mapping[str, Any]) -> _Tile:
    busy = stats.get("busy", 0)
    if lane == "slow" and busy:
        return "App, slow lane", f"{busy} handler{'' if busy == 1 else 's'} blocked", True
    return f"App, {lane} lane", f"{stats.get('messages', 0):,} messages", False


def _jobs(_: str | None, stats: Mapping[str, Any]) -> _Tile:
    function = str(stats.get("function") or "").rpartition(":")[2]
    return "Job worker", f"runs {function}" if function else "waits for a job", bool(function)


def _broker(_: str | None, stats: Mapping[str, Any]) -> _Tile:
    jobs = sum(count for queue in stats.get("jobs", {}).values() for count in queue.values())
    return "Broker", f"{jobs} job{'' if jobs == 1 else 's'} on disk", False
