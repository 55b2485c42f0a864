"""Sessions: of the connections that say they are the same client, only the newest stays.

A client whose network went away comes back while its old connection still looks open (half-open TCP); what is sent
to that one is lost, and what it counts for is counted twice. So a handshake may name its session, and the
connection that had the name before is closed. The name is the app's word (`sock.session` in `on_connect`; the
accept header `x-headgate-session` of an ASGI app) or else the client's (the query parameter `headgate-session`,
a random one of 16 characters or more: who knows it may take the connection's place). It holds for one socket path.

Other gateways hear of it through a channel of our own, with the moment of the handshake: a word that comes late must
not close a connection that is newer still.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, Final, Protocol
from urllib.parse import parse_qs

import msgspec

from headgate.gateway import codes

CHANNEL: Final = "headgate:sessions"
LONGEST: Final = 200
"""Characters of a name that the app gives."""
PARAMETER: Final = "headgate-session"
_CLIENTS: Final = re.compile(r"[A-Za-z0-9_-]{16,128}")


class Held(Protocol):
    """A connection, as far as sessions need it."""

    id: str

    def evict(self, code: int, reason: str) -> None:
        """End it at once: what waits for it is not waited for."""


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """A connection says which session it is; the later one has it."""

    since: float
    """Seconds of the wall clock."""
    connection: str
    session: str


class Sessions:
    """Who has which session on this gateway.

    Args:
        publish: tells the other gateways.
        clock: the wall clock, which all gateways share.
    """

    def __init__(
        self, publish: Callable[[bytes], None] = lambda _: None, clock: Callable[[], float] = time.time
    ) -> None:
        self._publish = publish
        self._clock = clock
        self._held: dict[str, tuple[Claim, Held]] = {}
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._held)

    def enter(self, session: str, connection: Held) -> None:
        """A connection of this session has come: the one before goes, wherever it is."""
        claim = Claim(self._clock(), connection.id, session)
        self._evict(session)
        self._held[session] = (claim, connection)
        self._publish(msgspec.msgpack.encode(claim))

    def leave(self, session: str, connection: Held) -> None:
        """A connection has ended."""
        held = self._held.get(session)
        if held is not None and held[1] is connection:
            del self._held[session]

    def heard(self, payload: bytes) -> None:
        """A gateway, perhaps this one, has published a claim."""
        try:
            claim = msgspec.msgpack.decode(payload, type=Claim)
        except msgspec.DecodeError:
            return
        held = self._held.get(claim.session)
        if held is not None and (held[0].since, held[0].connection) < (claim.since, claim.connection):
            self._evict(claim.session)

    def _evict(self, session: str) -> None:
        held = self._held.pop(session, None)
        if held is not None:
            self.evicted += 1
            held[1].evict(codes.EVICTED, "a newer connection of this session has taken over")


def session_of(handler: str, options: dict[str, Any], headers: list[tuple[bytes, bytes]], query: bytes) -> str:
    """The full name of an accepted connection's session; "" when it has none.

    Args:
        handler: of the handshake: the same name on two paths is two sessions.
        options, headers: of the app's acceptance.
        query: of the handshake.
    """
    told, whose = options.get("session"), "app"
    if told is None:
        told = next((value.decode("latin-1") for name, value in headers if name == b"x-headgate-session"), None)
    if told is None:
        # Apart from the app's names: a client must not ask for the one that the app has given somebody else.
        told, whose = _asked_for(query), "client"
    told = str(told)[:LONGEST]
    return f"{handler} {whose} {told}" if told else ""


def _asked_for(query: bytes) -> str:
    if PARAMETER.encode() not in query:
        return ""
    try:
        values = parse_qs(query.decode("latin-1"), max_num_fields=50).get(PARAMETER, [""])
    except ValueError:
        return ""
    return values[0] if _CLIENTS.fullmatch(values[0]) else ""
