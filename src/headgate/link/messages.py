"""Every message of the link, version 1. Arrays on the wire, told apart by their tag.

Each direction has its own union: `ToWorker` and `ToGateway`. `stream` is a number that the gateway
gives and that is unique on one link connection. Flow control: response chunks and pushes of one stream
may run ahead of the gateway's `Credit` by at most `WINDOW` bytes.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headgate.link.scope import Scope as Scope
from headgate.link.socketio import SioAck, SioDone, SioEmit, SioEvent, SioOrder, SioQuery, SioReply, SioServer

VERSION: Final = 1
WINDOW: Final = 256 * 1024
"""Bytes that a stream may send before the gateway grants more."""
INLINE_BODY: Final = 64 * 1024
"""A larger request body travels as the path of a spool file."""


Data = Any
"""A message's payload, `str` for text and `bytes` for binary (msgspec has no union of the two)."""


class Effect(msgspec.Struct, frozen=True, array_like=True):
    """What a handler asks a gateway to do to one connection.

    `kind` and `data`: send (str | bytes), json (any, sent as text), state (dict: replaces the connection's),
    join (channel), leave (channel), follow ([stream, after]), unfollow (stream), close ([code, reason]).
    """

    kind: str
    data: Any


# gateway → app worker


class GatewayHello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    version: int
    gateway: int
    pid: int
    spool: str
    """The folder that body files are in."""


class Request(msgspec.Struct, frozen=True, array_like=True, tag="request"):
    """An HTTP request with its whole body (`body`, or the file `body_path`, which the gateway deletes)."""

    stream: int
    handler: str
    """What the gateway takes the handler to be; a worker that finds another one unfit for its lane answers `Bounce`."""
    scope: Scope
    body: bytes = b""
    body_path: str | None = None


class Open(msgspec.Struct, frozen=True, array_like=True, tag="open"):
    """A WebSocket handshake: the worker answers Accept, Reject, Bounce or Fail."""

    stream: int
    connection: str
    handler: str
    scope: Scope


class Message(msgspec.Struct, frozen=True, array_like=True, tag="message"):
    """One message (or the end) of a native socket: answered by `Answer`, or by `Bounce`.

    `scope` and `state` come along each time: an app worker keeps nothing between events.
    """

    stream: int
    connection: str
    handler: str
    kind: str
    """message | disconnect"""
    scope: Scope
    state: dict[str, Any]
    data: Data
    code: int = 0
    reason: str = ""


class Feed(msgspec.Struct, frozen=True, array_like=True, tag="feed"):
    """A message for a loop socket (flask-sock, ASGI), whose handler holds the stream open."""

    stream: int
    data: Data


class Closed(msgspec.Struct, frozen=True, array_like=True, tag="closed"):
    """The client of a loop socket is gone, with its close code."""

    stream: int
    code: int
    reason: str = ""


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag="cancel"):
    """The client of a request went away, or its time is over: nobody will read the answer."""

    stream: int


class Credit(msgspec.Struct, frozen=True, array_like=True, tag="credit"):
    """The gateway has passed on this many bytes of the stream."""

    stream: int
    amount: int


class Known(msgspec.Struct, frozen=True, array_like=True, tag="known"):
    """Handlers that are now proven fast (True) or slow (False): what a worker's lane check goes by."""

    lanes: dict[str, bool]


class Retired(msgspec.Struct, frozen=True, array_like=True, tag="retired"):
    """The answer to `Draining`: behind this the gateway begins nothing on the link: nothing is lost in a pipe."""


ToWorker = (
    GatewayHello
    | Request
    | Open
    | Message
    | Feed
    | Closed
    | Cancel
    | Credit
    | Known
    | Retired
    | SioEvent
    | SioAck
    | SioReply
)


# app worker → gateway


class WorkerHello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    version: int
    worker: str
    pid: int
    lane: str
    """fast | slow"""
    generation: int
    slots: int
    """Handlers that this worker runs at once for all gateways together."""
    app: str
    """wsgi | asgi"""
    rules: list[tuple[str, str]]
    """(handler, rule) of the app, so that the gateway can guess the handler of a path: rules in Flask's notation."""
    pinned: dict[str, str]
    """Handlers pinned to a lane by the code."""
    functions: list[str] = []
    socketio: SioServer | None = None
    """What the app's Socket.IO server is like, if it has one."""


class Draining(msgspec.Struct, frozen=True, array_like=True, tag="draining"):
    """Give me nothing new; I finish what I have. Answered by `Retired`, and the link stays open until that came."""


class Slots(msgspec.Struct, frozen=True, array_like=True, tag="slots"):
    """This worker runs so many handlers at once from now on; what runs already goes on."""

    slots: int


class Head(msgspec.Struct, frozen=True, array_like=True, tag="head"):
    """Status and headers of a response, with its first bytes; complete unless `more`."""

    stream: int
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    more: bool
    handler: str
    run: float = 0.0
    """Seconds that the handler ran, on the last frame of a response."""


class Chunk(msgspec.Struct, frozen=True, array_like=True, tag="chunk"):
    stream: int
    body: bytes
    more: bool
    run: float = 0.0


class Fail(msgspec.Struct, frozen=True, array_like=True, tag="fail"):
    """The handler raised, or the worker could not run it. After a `Head` it cuts the response short."""

    stream: int
    handler: str
    error_id: str
    run: float = 0.0


class Bounce(msgspec.Struct, frozen=True, array_like=True, tag="bounce"):
    """Not run: this handler is not proven fast and this is the fast lane. Send it to the slow one."""

    stream: int
    handler: str


class Accept(msgspec.Struct, frozen=True, array_like=True, tag="accept"):
    """The handshake is accepted. `native`: the stream ends here and messages come as `Message`; else it stays open."""

    stream: int
    native: bool
    handler: str
    subprotocol: str | None
    headers: list[tuple[bytes, bytes]]
    state: dict[str, Any]
    options: dict[str, Any]
    """Of a native socket: concurrent, disconnect (whether it wants to hear of it), event_field, session, key."""
    effects: list[Effect]
    run: float = 0.0


class Reject(msgspec.Struct, frozen=True, array_like=True, tag="reject"):
    """The handshake is answered with an HTTP response instead."""

    stream: int
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    handler: str
    run: float = 0.0


class Answer(msgspec.Struct, frozen=True, array_like=True, tag="answer"):
    """A native handler is done. `effects` come first, then `data` (text or bytes) is sent unless None.

    `state` replaces the connection's when given; `error_id` says that the handler raised.
    """

    stream: int
    handler: str
    data: Data
    state: dict[str, Any] | None
    effects: list[Effect]
    run: float
    error_id: str | None = None


class Push(msgspec.Struct, frozen=True, array_like=True, tag="push"):
    """A loop socket sends a message."""

    stream: int
    data: Data


class Hangup(msgspec.Struct, frozen=True, array_like=True, tag="hangup"):
    """A loop socket's handler ended the connection."""

    stream: int
    code: int
    reason: str
    run: float = 0.0


class Consumed(msgspec.Struct, frozen=True, array_like=True, tag="consumed"):
    """A loop socket's handler has taken this many messages: the gateway may feed as many more."""

    stream: int
    count: int


class Effects(msgspec.Struct, frozen=True, array_like=True, tag="effects"):
    """Effects on a connection at once, in the middle of a handler or from a thread of its own."""

    connection: str
    effects: list[Effect]


class Timed(msgspec.Struct, frozen=True, array_like=True, tag="timed"):
    """A turn of a loop handler took this long: what the lanes learn of messages inside loops."""

    handler: str
    run: float


ToGateway = (
    WorkerHello
    | Draining
    | Slots
    | Head
    | Chunk
    | Fail
    | Bounce
    | Accept
    | Reject
    | Answer
    | Push
    | Hangup
    | Consumed
    | Effects
    | Timed
    | SioDone
    | SioEmit
    | SioOrder
    | SioQuery
)
