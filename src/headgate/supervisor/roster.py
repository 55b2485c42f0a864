"""Who is there: the places to be filled, and every run of a process from its spawn to its end."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Literal

from headgate.base.exits import JOB_KILLED
from headgate.config.settings import Settings
from headgate.supervisor.channel import Failed, process_name
from headgate.supervisor.events import Place

RESTART_FIRST: Final = 0.5
RESTART_MOST: Final = 30.0
"""Seconds between restarts of a process that keeps crashing: the first is immediate, then 0.5, 1, 2 … 30."""
STABLE: Final = 10.0
"""Seconds of serving after which earlier crashes are forgotten: to start it anew this often costs little, and to keep
a process out for half a minute that serves between its deaths costs those who need it more."""


PLANNED_ENDS: Final[dict[int, tuple[Literal["info", "warning"], str]]] = {
    0: ("info", "has done its share (job_max_jobs, job_max_memory)"),
    JOB_KILLED: ("warning", "ended itself: its job did not end after its timeout or cancellation"),
}
"""Exit codes by which a serving job worker makes place for a fresh one: how loud to say so, and what."""
OWN_BROKER: Final = ("embedded", "memory")
"""The engines whose broker process is one of ours; any other is a server elsewhere."""


class Phase(Enum):
    BOOTING = auto()
    SERVING = auto()
    LEAVING = auto()
    """Told to stop, or killed on purpose: its end is no crash."""


@dataclass
class Run:
    """One run of a process."""

    id: int
    place: Place
    generation: int
    since: float
    """When it was spawned (monotonic seconds, as all times here)."""
    pid: int = 0
    phase: Phase = Phase.BOOTING
    ready_at: float | None = None
    beat_at: float = 0.0
    probed: tuple[float, float] | None = None
    """The first probe since the last beat: when, and the CPU seconds used by then."""
    deadline: float | None = None
    killed_at: float | None = None
    failure: Failed | None = None
    """Why it could not start, in its own words."""
    killed_for: str | None = None
    """Why the supervisor killed it."""

    @property
    def name(self) -> str:
        """The name that the child has too."""
        place = self.place
        return process_name(place.role, place.lane, place.index, self.generation, self.pid)

    def ended(self, status: int) -> str:
        """Its end in words."""
        if self.failure is not None and not self.pid:
            return self.failure.message
        if self.killed_for is not None:
            return f"{self.place.name} (pid {self.pid}) {self.killed_for}"
        return f"{self.place.name} (pid {self.pid}) {_how(status)}"


@dataclass
class Post:
    """A place with the run that fills it, and how often that has crashed lately."""

    place: Place
    run: int | None = None
    last: str | None = None
    """The name of the run before, which its successor replaces."""
    crashes: int = 0
    restarts: int = 0
    restart_at: float | None = None
    planned: bool = False
    """The restart that is due replaces a process that was meant to end."""

    def crashed(self, run: Run, now: float) -> float:
        """Count a crash; returns the seconds to wait before the restart."""
        if run.ready_at is not None and now - run.ready_at >= STABLE:
            self.crashes = 0
        delay = 0.0 if self.crashes == 0 else min(RESTART_MOST, RESTART_FIRST * 2.0 ** (self.crashes - 1))
        self.crashes += 1
        self._vacate(run, now + delay, planned=False)
        return delay

    def made_place(self, run: Run, now: float) -> None:
        """Its process ended as it was meant to: the next one comes at once, and nothing is held against either."""
        self._vacate(run, now, planned=True)

    def _vacate(self, run: Run, restart_at: float, *, planned: bool) -> None:
        self.run, self.last = None, run.name
        self.restart_at, self.planned = restart_at, planned


@dataclass
class Reload:
    """A new generation on its way."""

    generation: int
    tickets: list[int]
    runs: dict[Place, int] = field(default_factory=dict)


def places(settings: Settings) -> list[Place]:
    """The places of a Headgate with these settings, in the order of start."""
    everything = [
        *([Place("broker", None, 0)] if settings.broker in OWN_BROKER else []),
        *(Place("gateway", None, index) for index in range(settings.gateways)),
        *(Place("app", "fast", index) for index in range(settings.workers)),
        *(Place("app", "slow", index) for index in range(settings.slow_workers if settings.lanes else 0)),
        *(Place("jobs", None, index) for index in range(settings.jobs)),
        *(Place("rq", None, index) for index in range(settings.rq_workers)),
        *([Place("celery", None, 0)] if settings.celery_workers else []),
    ]
    return [place for place in everything if place.role in settings.roles]


def code_processes(settings: Settings) -> int:
    """How many processes of one generation run user code here: what their connection pools share a server among."""
    here = [place.role for place in places(settings)]
    celery = settings.celery_workers if "celery" in here else 0
    return sum(role in ("app", "jobs", "rq") for role in here) + celery


def _how(status: int) -> str:
    if status >= 0:
        return f"exited with code {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was killed by {name}"
