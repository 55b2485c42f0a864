"""What a process tells the gateways of Socket.IO clients: an app worker over its links, any other over the broker."""

from __future__ import annotations

from typing import Any, Final

import msgspec

CHANNEL: Final = "headgate:socketio"
"""The broker's channel for `SioEmit` and `SioOrder` of processes that have no link."""

Packet = Any
"""`str`, or `bytes` with a binary serializer (msgspec has no union of the two)."""
Room = Any
"""The name of a room: text, a number, whatever msgpack has and Python can hash."""


class SioEmit(msgspec.Struct, frozen=True, array_like=True, tag="sio-emit"):
    """A packet for clients: those in `rooms` (a sid is a room with one member), all if None, without `skip`."""

    namespace: str
    rooms: list[Room] | None
    skip: list[str]
    packet: Packet
    attachments: list[bytes] = []
    callback: int = 0
    """The worker's number for what it runs when a client acknowledges; 0 for nothing."""
    volatile: bool = False
    """May be dropped for clients that are slow or away."""


class SioOrder(msgspec.Struct, frozen=True, array_like=True, tag="sio-order"):
    """What a handler asks of the gateway.

    `kind` and `data`: accept, join (room), leave (room), close_room (room), disconnect, state (entries as in
    `SioDone`).
    """

    kind: str
    namespace: str
    sid: str
    data: Any = None
