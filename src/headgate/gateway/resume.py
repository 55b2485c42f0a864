"""Coming back: what a client says to the gateway itself, in messages that begin with `{"headgate":`.

`resume` names the streams that it has, each with its last offset and a token; the gateway goes on behind that,
whichever gateway it is and whatever the app does meanwhile. A client that has said it once is given a token for each
stream that it comes to follow later. `ping` is answered with `pong`: pages cannot see the pings of the protocol.
"""

from __future__ import annotations

import re
from typing import Any, Final, Protocol

import msgspec

from headgate.base.tokens import STREAM, Tokens
from headgate.gateway.follows import Told, end

OURS: Final = '{"headgate":'
_OFFSET: Final = re.compile(r"\d{1,16}")
MOST: Final = 200
"""Streams that one message resumes: as many as a connection may follow."""


class _Said(msgspec.Struct):
    headgate: str
    streams: dict[str, tuple[str, str]] = {}
    """Stream → the last offset that the client has, and its token."""


_decode = msgspec.json.Decoder(_Said).decode


class Capabilities:
    """Signs the tokens by which a stream can be followed again.

    Args:
        ttl: seconds that one is good for.
    """

    def __init__(self, tokens: Tokens, ttl: float) -> None:
        self._tokens = tokens
        self._ttl = ttl

    def sign(self, stream: str) -> str:
        return self._tokens.sign(STREAM, stream, self._ttl)

    def allows(self, token: str, stream: str) -> bool:
        return self._tokens.allows(token, STREAM, stream)


class Resuming(Protocol):
    """A connection, as far as this needs it."""

    resumes: bool

    def announce_all(self) -> None: ...

    def json(self, value: Any) -> None: ...

    def follow(self, stream: str, after: int) -> bool: ...

    def event(self, told: Told) -> None: ...


def take(connection: Resuming, capabilities: Capabilities | None, data: str) -> None:
    """Do what a client's message to the gateway asks for."""
    try:
        said = _decode(data)
    except (msgspec.MsgspecError, RecursionError) as exc:
        connection.json({"headgate": "error", "error": "malformed", "message": str(exc)})
        return
    if said.headgate == "ping":
        connection.json({"headgate": "pong"})
    elif said.headgate == "resume" and capabilities is not None:
        _resume(connection, capabilities, said.streams)
    else:
        connection.json({"headgate": "error", "error": "unknown", "message": f"{said.headgate!r} is not known here"})


def _resume(connection: Resuming, capabilities: Capabilities, streams: dict[str, tuple[str, str]]) -> None:
    if len(streams) > MOST:
        message = f"at most {MOST} streams can be resumed by one message"
        connection.json({"headgate": "error", "error": "too_many", "message": message})
        return
    if not connection.resumes:
        connection.resumes = True
        connection.announce_all()
    for stream, (offset, token) in streams.items():
        if not _OFFSET.fullmatch(offset) or not capabilities.allows(token, stream):
            connection.event(end(stream, 0, "its token is not (or no longer) good: ask the app to follow it again"))
        elif not connection.follow(stream, int(offset)):
            connection.event(end(stream, 0, "this connection follows as many streams as it may"))
    connection.json({"headgate": "resumed", "streams": len(streams)})
