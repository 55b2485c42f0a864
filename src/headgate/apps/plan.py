"""What an app worker is to be."""

from __future__ import annotations

import msgspec


class WorkerPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What an app worker is to be; the settings of the same names say more."""

    app: str
    name: str
    lane: str
    generation: int
    links: list[str]
    slots: int
    most_slots: int = 0
    """How many there may be while handlers wait rather than compute; 0 for no more than `slots`."""
    lanes: bool = True
    loop_threads: int = 1000
    loop_turns: int = 2
    inbox: int = 64
    event_field: tuple[str, ...] = ("type", "event", "action")
    offload: tuple[str, ...] = ()
    bodies: str = ""
    """Where the bodies of offloaded requests are kept; empty where none are."""
