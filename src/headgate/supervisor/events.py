"""What happens to the crew (events) and what it decides (orders). Values only: a history can be replayed.

`run` is the number of one run of a process, given by the crew in a `Spawn`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from headgate.config.settings import Lane, Role
from headgate.supervisor.channel import Failed


@dataclass(frozen=True)
class Place:
    """What is to be filled by exactly one serving process: a role, its lane, its number."""

    role: Role
    lane: Lane | None
    index: int

    @property
    def name(self) -> str:
        return f"{self.role}-{self.lane}-{self.index}" if self.lane else f"{self.role}-{self.index}"


# events


@dataclass(frozen=True)
class Started:
    """The supervisor is up; the crew may begin."""


@dataclass(frozen=True)
class Spawned:
    run: int
    pid: int


@dataclass(frozen=True)
class SpawnFailed:
    """The machine refused another process."""

    run: int
    why: str


@dataclass(frozen=True)
class BecameReady:
    run: int


@dataclass(frozen=True)
class BootFailed:
    """The child says why it cannot start; its exit follows."""

    run: int
    failure: Failed


@dataclass(frozen=True)
class Beat:
    """The child's main loop turns."""

    run: int


@dataclass(frozen=True)
class Exited:
    """The process is gone: its exit code, or the negative number of the signal that ended it."""

    run: int
    status: int


@dataclass(frozen=True)
class Probed:
    """The answer to a `Probe`: CPU seconds used so far, and whether it is stopped (Ctrl-Z, debugger)."""

    run: int
    cpu: float
    stopped: bool


@dataclass(frozen=True)
class StopAsked:
    quick: bool = False


@dataclass(frozen=True)
class ReloadAsked:
    """`ticket` comes back in an `Answer`."""

    ticket: int
    gateways: bool = False
    """New gateways too, to which the sockets of the old ones move little by little."""


@dataclass(frozen=True)
class Tick:
    """Time went by."""


Event = (
    Started | Spawned | SpawnFailed | BecameReady | BootFailed | Beat | Exited | Probed | StopAsked | ReloadAsked | Tick
)


# orders


@dataclass(frozen=True)
class Spawn:
    run: int
    place: Place
    generation: int
    replaces: str | None


@dataclass(frozen=True)
class SendStop:
    run: int
    seconds: float


@dataclass(frozen=True)
class Kill:
    """SIGKILL."""

    run: int


@dataclass(frozen=True)
class Tell:
    run: int
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Probe:
    """Ask the system what the process has been doing; answered by `Probed` where the system can tell."""

    run: int


@dataclass(frozen=True)
class Unlink:
    """A gateway has ended: its link socket is free, or closed if another gateway has taken its place."""

    run: int


@dataclass(frozen=True)
class Announce:
    """The state of the whole has changed: what service managers and the start-up table wait for."""

    state: Literal["ready", "reloading", "stopping"]


@dataclass(frozen=True)
class Say:
    """A line for the log."""

    level: Literal["info", "warning", "error"]
    text: str


@dataclass(frozen=True)
class Answer:
    """What became of the reload with this ticket."""

    ticket: int
    failure: Failed | None


@dataclass(frozen=True)
class Finish:
    """Nothing runs any more. `failure` says why, when the end is not an orderly one."""

    code: int
    failure: Failed | None = None


Order = Spawn | SendStop | Kill | Tell | Probe | Unlink | Announce | Say | Answer | Finish
