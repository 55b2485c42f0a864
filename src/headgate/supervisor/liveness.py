"""Whether a serving process still lives, from its beats and from what the system says of it.

A gateway and the broker only ever pass work on, so a silent loop is a stalled one. An app worker or a
job worker runs user code that may hold the interpreter for long: it counts as stalled only when it is
silent, has used no CPU meanwhile and is not stopped by a debugger or a shell.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from headgate.supervisor.events import Probed
from headgate.supervisor.roster import Run

IDLE_CPU: Final = 0.02
"""CPU seconds that count as none: two ticks of the kernel's clock."""
RUNS_USER_CODE: Final = frozenset({"app", "jobs"})


class Verdict(Enum):
    ALIVE = auto()
    UNSURE = auto()
    """Ask the system about it."""
    STALLED = auto()


def judge(run: Run, now: float, timeout: float) -> Verdict:
    """What the silence of a serving process means.

    Args:
        run: the process.
        now: monotonic seconds.
        timeout: the `heartbeat_timeout` setting, seconds.
    """
    silence = now - run.beat_at
    if run.place.role in RUNS_USER_CODE:
        return Verdict.UNSURE if silence > timeout / 2 else Verdict.ALIVE
    return Verdict.STALLED if silence > timeout else Verdict.ALIVE


def weigh(run: Run, probe: Probed, now: float, timeout: float) -> Verdict:
    """What a probe of a silent worker shows; remembers the first one since the last beat."""
    if probe.stopped:
        run.probed = None
        return Verdict.ALIVE
    if run.probed is None or probe.cpu - run.probed[1] > IDLE_CPU:
        run.probed = (now, probe.cpu)
    idle = now - run.probed[0]
    return Verdict.STALLED if idle > timeout / 2 and now - run.beat_at > timeout else Verdict.UNSURE
