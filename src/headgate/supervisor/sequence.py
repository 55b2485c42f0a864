"""The order of things: who starts after whom, who stops after whom, who takes part in a reload."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from headgate.config.settings import Settings
from headgate.supervisor.roster import Run

BOOT_STAGES: Final = (("broker",), ("gateway",), ("app", "jobs", "rq", "celery"))
"""Each stage is started when all of the one before serve."""
RELOADED: Final = frozenset({"app", "jobs", "rq", "celery"})
"""The roles that run user code: a reload gives them a new generation."""
LAST_GRACE: Final = 2.0
"""Seconds at least for those whose turn to stop comes late."""
_STOPS_AFTER: Final[dict[str, frozenset[str]]] = {
    "jobs": frozenset(),
    "rq": frozenset(),
    "celery": frozenset(),
    "gateway": frozenset(),
    "app": frozenset({"gateway"}),
    "broker": frozenset({"gateway", "app", "jobs", "rq", "celery"}),
}


def may_stop(runs: Iterable[Run]) -> list[Run]:
    """Those whose turn to stop it is: nobody is left who still needs them.

    App workers answer what the gateways have taken in; the broker hears the last word of all others.
    """
    present = list(runs)
    roles = {run.place.role for run in present}
    return [run for run in present if not _STOPS_AFTER[run.place.role] & roles]


def early(ended: str, run: Run) -> str:
    """The end of a process that never served and could not say why."""
    hint = " The app's code, or a library of it, ended the process; it may have said why above."
    return f"{ended} while it was starting.{hint if run.place.role in RELOADED and run.killed_for is None else ''}"


@dataclass(frozen=True)
class Limits:
    """The times of the crew, in seconds; the settings of the same names."""

    boot: float = 60.0
    stop: float = 30.0
    reload: float = 3600.0
    heartbeat: float = 15.0
    move: float = 120.0

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        return cls(
            settings.boot_timeout,
            settings.stop_timeout,
            settings.reload_timeout,
            settings.heartbeat_timeout,
            settings.move_timeout,
        )
