"""The link's messages for Socket.IO: connections live in the gateways, events run in app workers.

A packet travels as the client sent it, or as the client shall get it: the app worker decodes and encodes with the
app's own packet class, the gateway reads no more than its head. `attachments` are a packet's binary parts, in order.
"""

from __future__ import annotations

import re
import secrets
from typing import Any, Final

import msgspec

from headgate.base.socketio import CHANNEL as CHANNEL
from headgate.base.socketio import Packet as Packet
from headgate.base.socketio import Room as Room
from headgate.base.socketio import SioEmit as SioEmit
from headgate.base.socketio import SioOrder as SioOrder
from headgate.link.scope import Scope


class SioServer(msgspec.Struct, frozen=True, array_like=True):
    """What the app configured its Socket.IO server to be (python-engineio's names; seconds, bytes)."""

    path: str
    """With slashes at both ends, without the root path."""
    ping_interval: float
    ping_timeout: float
    max_payload: int
    transports: list[str]
    allow_upgrades: bool
    cookie: str
    """The cookie's name, then `{sid}`, then its attributes; empty for none."""
    origins: list[str] | None
    """Origins that may connect; None for any."""
    same_origin: bool
    """The page's own origin may connect too."""
    cors: bool
    """Whether CORS headers are sent, and origins checked."""
    credentials: bool
    compress: int
    """Bytes from which a polling response is compressed; 0 for never."""
    serializer: str
    """default | msgpack"""
    namespaces: dict[str, list[str]]
    """Namespaces and their events with a handler, each "*" for any."""
    accepted: list[str] | None
    """The namespaces that clients may connect to; None for all."""
    always_connect: bool
    ordered: bool
    """Events of one client run strictly one after the other (`async_handlers=False`)."""


class SioEvent(msgspec.Struct, frozen=True, array_like=True, tag="sio-event"):
    """One event of a client for any app worker: answered by `SioDone`, or by `Bounce`."""

    stream: int
    handler: str
    kind: str
    """connect | event | disconnect"""
    eio: str
    sid: str
    namespace: str
    scope: Scope
    state: dict[str, bytes]
    """What earlier events left for later ones: entries that only app workers read."""
    packet: Packet = None
    attachments: list[bytes] = []
    reason: str = ""
    """Of a disconnect."""
    recovered: bool = False
    """The client came back with its sid and rooms."""


class SioDone(msgspec.Struct, frozen=True, array_like=True, tag="sio-done"):
    """An event's handler is done.

    `packet` goes to the client: the acknowledgement of an event, or why a connect was refused.
    """

    stream: int
    handler: str
    accepted: bool
    packet: Packet
    attachments: list[bytes]
    changed: dict[str, bytes]
    """Entries of the state to set; those with an empty value are removed."""
    run: float
    error_id: str | None = None


class SioAck(msgspec.Struct, frozen=True, array_like=True, tag="sio-ack"):
    """A client acknowledged an emit of this worker."""

    callback: int
    eio: str
    sid: str
    namespace: str
    scope: Scope
    state: dict[str, bytes]
    packet: Packet
    attachments: list[bytes]


class SioQuery(msgspec.Struct, frozen=True, array_like=True, tag="sio-query"):
    """A question, answered by `SioReply`.

    `kind`, `data` and the answer: rooms → the sid's rooms, or None; participants ([rooms] or None) → [[sid, eio]];
    client → [eio, transport, connected, scope, state] of the sid, or None; namespaces → names.
    """

    query: int
    kind: str
    namespace: str
    sid: str
    data: Any = None


class SioReply(msgspec.Struct, frozen=True, array_like=True, tag="sio-reply"):
    query: int
    data: Any


_OURS: Final = re.compile(r"([0-9a-f]{2})~[A-Za-z0-9_-]{18}")


def new_id(gateway: int) -> str:
    """A sid that says which gateway holds it."""
    return f"{gateway:02x}~{secrets.token_urlsafe(14)[:18]}"


def gateway_of(sid: Any) -> int | None:
    """The gateway that made a sid; None for what is none, such as the name of a room."""
    match = _OURS.fullmatch(sid) if isinstance(sid, str) else None
    return int(match[1], 16) if match is not None else None
