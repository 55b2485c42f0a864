"""What the supervisor and a child say to each other: framed msgpack on a socket pair that the child inherits.

The end of the channel is a message too: whoever reads it knows that the other process is gone.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headgate.base.frames import frame
from headgate.config.settings import Lane, Role, Settings

ENVIRONMENT: Final = "HEADGATE_CHILD"
"""The environment variable that carries a `Brief` as JSON."""
PROCESSES: Final = "HEADGATE_PROCESSES"
"""The environment variable that tells user code how many processes run it, for pools that share a server."""
FRAME_LIMIT: Final = 4 * 1024 * 1024
"""The greatest message in bytes; a report is the only one that could grow."""


class Brief(msgspec.Struct, frozen=True, kw_only=True):
    """All that a child is told at its start. Sockets are inherited, given by their descriptors."""

    role: Role
    index: int
    generation: int
    settings: Settings
    supervisor: int
    """The supervisor's process id."""
    channel: int
    lane: Lane | None = None
    listeners: tuple[int, ...] = ()
    link: int | None = None
    links: tuple[str, ...] = ()
    replaces: str | None = None
    processes: int = 0
    """How many processes run user code; 0 for a process that runs none."""


# child → supervisor


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """The child can take work."""


class Failed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """The child could not start. `traceback` is empty when `message` says it all."""

    message: str
    traceback: str
    config: bool
    """Whether a setting or the app's address is at fault."""


class Alive(msgspec.Struct, frozen=True, array_like=True, tag="alive"):
    """The main loop of the child turns."""


class Report(msgspec.Struct, frozen=True, array_like=True, tag="report"):
    """What `headgate status` shows of the child."""

    stats: dict[str, Any]


ToSupervisor = Ready | Failed | Alive | Report


# supervisor → child


class Stop(msgspec.Struct, frozen=True, array_like=True, tag="stop"):
    """Finish within so many seconds; a second one can only shorten the time."""

    seconds: float


class Notice(msgspec.Struct, frozen=True, array_like=True, tag="notice"):
    """News for the role, `worker_died` above all: `{"name", "role", "lane"}` of a process that ended."""

    kind: str
    data: dict[str, Any]


ToChild = Stop | Notice

_encoder = msgspec.msgpack.Encoder(enc_hook=str)
decode_to_supervisor = msgspec.msgpack.Decoder(ToSupervisor).decode
decode_to_child = msgspec.msgpack.Decoder(ToChild).decode


def encode(message: ToSupervisor | ToChild) -> bytes:
    """A message as a frame. Values that msgpack does not know go as their text."""
    return frame(_encoder.encode(message))


def process_name(role: str, lane: str | None, index: int, generation: int, pid: int) -> str:
    """The name of one run of one process, the same at both ends: `app-fast-0.3-4711`."""
    place = f"{role}-{lane}-{index}" if lane else f"{role}-{index}"
    return f"{place}.{generation}-{pid}"
