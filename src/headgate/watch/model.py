"""A stall as it was measured, and an incident: the same with its names. Plain data, as the journal keeps it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from headgate.watch.stacks import Frame, Stack

BLOCKING: Final = "blocking call"
LOCK: Final = "lock"
COMPUTING: Final = "computing"
GIL: Final = "interpreter lock"
GC: Final = "garbage collection"
STARVED: Final = "no CPU"
OVERLOAD: Final = "overload"
IMPORT: Final = "import"
UNKNOWN: Final = "unknown"
STOPPED: Final = "stopped"
DEBUGGER: Final = "debugger"

CAUSES: Final = (BLOCKING, LOCK, COMPUTING, GIL, GC, STARVED, OVERLOAD, IMPORT, UNKNOWN)
"""Why a line did not turn. `STOPPED` and `DEBUGGER` are causes too, but no incidents."""


@dataclass
class Sample:
    """What a line's thread was at, at one moment of a stall."""

    at: int
    """Nanoseconds on the monotonic clock."""
    stack: Stack
    call: str = ""
    """The name of the C call that the blamed frame was in, if there was one."""
    root: int = 0
    """The same number for samples of the same callback or greenlet."""
    sleeping: str = ""
    """The system call that the thread slept in; "" when it ran."""
    foreign: bool = False
    """The stack is that of another thread, which held the interpreter lock."""
    outside: bool = False
    """Taken from outside, without the interpreter lock."""
    holds: bool = False
    """The thread of the stack held the interpreter lock."""
    late: bool = False
    """Taken when the interpreter lock came free: it may be past what held it."""


@dataclass
class Stall:
    """One stretch for which a line did not turn, in nanoseconds."""

    begin: int
    end: int
    kind: str
    line: str
    cpu: int = 0
    """CPU time that the line's thread used in it."""
    queued: int = 0
    """Time for which the line's thread was ready and had no CPU."""
    gc: int = 0
    """Time that garbage collections took of it."""
    held: int = 0
    """Time of it for which nobody else in the process got the interpreter lock."""
    limit: int = 0
    """What a stretch of the line may take."""
    uncertain: int = 0
    roughly: bool = False
    """`cpu` is that of the whole process while nobody else could run; `queued` is not known."""
    stopped: bool = False
    debugged: bool = False
    samples: list[Sample] = field(default_factory=list)

    @property
    def length(self) -> int:
        return self.end - self.begin


@dataclass
class Incident:
    """A stall with its names: one line of the journal."""

    at: float
    """Wall clock of its end, seconds since the epoch."""
    pid: int
    process: str
    kind: str
    line: str
    cause: str
    seconds: float
    file: str
    number: int
    function: str
    code: str
    call: str
    handler: str = ""
    request_id: str = ""
    statement: str = ""
    url: str = ""
    sleeping: str = ""
    sockets: int = 0
    """Sockets that had something to be read meanwhile."""
    tasks: int = 0
    """Callbacks or green threads that were ready to run meanwhile."""
    waited: float = 0.0
    """Seconds for which the longest of them waited, at least."""
    callbacks: int = 0
    """Of an overload: callbacks seen in it."""
    ended: int = 0
    """Its end on CLOCK_MONOTONIC, ns."""
    uncertain: float = 0.0
    """Seconds by which its length may be wrong, where its begin was not stamped but found out."""
    cpu: float = 0.0
    queued: float = 0.0
    gc: float = 0.0
    held: float = 0.0
    """Seconds of it: computing, waiting for a CPU, collecting garbage, and with the interpreter lock held."""
    late: bool = False
    """Its place was seen only after its end: nobody was there to look without the interpreter lock."""
    outside: bool = False
    """Its place was seen from outside."""
    startup: bool = False
    """It belongs to the start of the process, when nobody waits yet."""
    unfinished: bool = False
    """The process ended, or is still in it."""
    fingerprint: str = ""
    advice: str = ""
    stacks: list[tuple[float, list[str]]] = field(default_factory=list)
    """(seconds, frames as `function file:line`, outermost first) of what it did over its length."""

    @property
    def place(self) -> str:
        """`orders.py:41`, with the folder above for orientation."""
        return f"{self.file}:{self.number}"

    def to_json(self) -> str:
        """One line without its end."""
        return json.dumps({"v": 1, **asdict(self)}, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Incident:
        """The incident that `to_json` wrote; keys of a later version are left out.

        Raises:
            ValueError: the line is no incident.
        """
        data: dict[str, Any] = json.loads(line)
        if not isinstance(data, dict) or data.get("v") != 1:
            raise ValueError("not an incident")
        known = {key: value for key, value in data.items() if key in cls.__dataclass_fields__}
        known["stacks"] = [(float(seconds), list(frames)) for seconds, frames in known.get("stacks", ())]
        try:
            return cls(**known)
        except TypeError as exc:
            raise ValueError(str(exc)) from exc


def label(frame: Frame) -> str:
    """A frame in one line of text."""
    return f"{frame.function} {frame.file}:{frame.line}"
