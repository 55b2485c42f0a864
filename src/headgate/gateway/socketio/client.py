"""One client's connection to one namespace: its sid, its rooms, and the events that wait for their turn."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

from headgate.gateway.socketio.codec import Parcel
from headgate.gateway.socketio.session import Session
from headgate.link.socketio import Packet, Room

PENDING: Final = "pending"
OPEN: Final = "open"
LEAVING: Final = "leaving"
"""Its disconnect handler has not run yet."""
AWAY: Final = "away"
"""Gone, and may come back (connection state recovery)."""
GONE: Final = "gone"


class Item:
    """Something that an app worker has to run for a client."""

    __slots__ = ("attachments", "event", "id", "kind", "packet", "reason", "tries")

    def __init__(
        self,
        kind: str,
        event: str,
        packet: Packet = None,
        attachments: list[bytes] | None = None,
        id: int | None = None,
        reason: str = "",
    ) -> None:
        self.kind = kind
        """connect | event | disconnect"""
        self.event = event
        self.packet = packet
        self.attachments = attachments or []
        self.id = id
        self.reason = reason
        self.tries = 0


class Client:
    """A connection to a namespace.

    Args:
        sid: what the app knows it by.
        namespace, session: where it is.
    """

    __slots__ = (
        "accepted",
        "acks",
        "expires",
        "held",
        "held_bytes",
        "inbox",
        "kept",
        "latest",
        "namespace",
        "next_ack",
        "opened_at",
        "pid",
        "recovered",
        "rooms",
        "running",
        "session",
        "sid",
        "since",
        "state",
        "timer",
    )

    def __init__(self, sid: str, namespace: str, session: Session) -> None:
        self.sid = sid
        self.namespace = namespace
        self.session = session
        self.state = PENDING
        self.rooms: dict[Room, int] = {}
        """With the number of the last emit before it joined."""
        self.held: list[Parcel] | None = []
        """What was sent to it before it was accepted."""
        self.held_bytes = 0
        self.accepted = False
        self.acks: dict[int, tuple[str, int]] | None = None
        """By the number that the client answers with: the app worker, and its number."""
        self.next_ack = 0
        self.inbox: deque[Item] = deque()
        self.running: list[Item] = []
        self.latest = 0.0
        """When the newest of them began (loop time)."""
        self.timer: asyncio.TimerHandle | None = None
        self.pid = ""
        self.opened_at = 0
        self.since = 0
        """The last emit that it had got when it came back."""
        self.expires = 0.0
        """Until when it may come back; 0 if it may not."""
        self.kept: dict[Room, int] = {}
        """The rooms that it left behind."""
        self.recovered = False

    def send(self, parcel: Parcel, *, droppable: bool = False) -> None:
        """Send to the client, or keep it until the client is accepted."""
        if self.held is not None:
            self.held_bytes += len(parcel.packet) + sum(map(len, parcel.attachments))
            if self.held_bytes > self.session.terms.outbox_bytes:
                self.session.overflow("the connect handler takes too long for what is sent meanwhile")
            else:
                self.held.append(parcel)
        elif self.state == OPEN:
            self.session.send(parcel, droppable=droppable)

    def expect(self, worker: str, callback: int, most: int) -> int:
        """A number for the client to acknowledge with; the oldest of too many unanswered ones is forgotten."""
        if self.acks is None:
            self.acks = {}
        if len(self.acks) >= most:
            self.acks.pop(next(iter(self.acks)))
        self.next_ack += 1
        self.acks[self.next_ack] = (worker, callback)
        return self.next_ack

    def answered(self, number: int) -> tuple[str, int] | None:
        return self.acks.pop(number, None) if self.acks is not None else None


class Half:
    """A packet whose attachments have not all come."""

    __slots__ = ("attachments", "head", "packet", "size")

    def __init__(self, head: Any, packet: str) -> None:
        self.head = head
        self.packet = packet
        self.attachments: list[bytes] = []
        self.size = len(packet)
