"""What the parent and the generator processes say to each other, as msgpack frames over pipes."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headgate.simulate.measure import MeasureDump

FRAME_LIMIT: Final = 256 * 1024 * 1024


class Spec(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The first order: all that a generator needs to know. Times are in seconds."""

    target: str
    protocol: str
    scenario: str
    params: dict[str, Any]
    shared: Any
    overrides: dict[str, Any]
    users: list[tuple[float, float]]
    rate: list[tuple[float, float]]
    heavy: float
    seed: int
    warmup: float
    drain: float
    timeout: float
    connect_rate: float
    sources: list[str]
    headers: dict[str, str]
    insecure: bool
    faults: list[str]
    index: int
    processes: int


class Begin(msgspec.Struct, frozen=True, tag=True):
    """Start at this moment of the machine's monotonic clock, which all processes share."""

    origin: float


class Stop(msgspec.Struct, frozen=True, tag=True):
    """End now and report what there is."""


Order = Spec | Begin | Stop


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The users of the start are connected, or have tried."""

    connected: int
    failed: int
    refusal: str | None


class Pulse(msgspec.Struct, frozen=True, tag=True):
    """How it goes, twice a second."""

    index: int
    at: float
    connected: int
    outstanding: int
    counts: dict[str, int]
    recent: dict[str, str]
    cpu: float
    """CPU seconds per second since the last pulse: 1.0 is a whole core."""
    lag: float
    """The worst schedule or loop lag so far, seconds."""
    phase: str


class Note(msgspec.Struct, frozen=True, tag=True):
    """Something worth a mark on the timeline, such as a fault that begins."""

    at: float
    text: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The generator cannot go on; `kind` is scenario, target or input."""

    kind: str
    text: str


class Done(msgspec.Struct, frozen=True, tag=True):
    """The end: everything that was measured."""

    measure: MeasureDump
    lag: str
    loop_lag: str
    cpu: list[tuple[float, float]]
    connected: int
    seconds: float


Report = Ready | Pulse | Note | Failed | Done
