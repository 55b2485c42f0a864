"""Connection state recovery (Socket.IO 4.6): who may come back, and what was emitted meanwhile. Pure: time is given.

Emits are kept once for all clients, numbered; a client says the number of the last one that it got. Three rules close
what the original leaves open: a client without a number (it dropped before its first event) gets everything since it
connected; every event carries a number, the volatile ones too, so that no argument of an app's passes for one; and
a client whose old connection is still open takes it over.
"""

from __future__ import annotations

import secrets
from collections import deque
from typing import Any, Final

from headgate.gateway.socketio.codec import Parcel
from headgate.link.socketio import Room

MOST_BYTES: Final = 32 * 1024 * 1024
"""Bytes of emits that are kept for those who come back."""
MOST_AWAY: Final = 20_000
_OVERHEAD: Final = 200
_DIGITS: Final = 16
"""Of a number that an offset may name; Python refuses to read one of some thousands."""


class Entry:
    """One emit."""

    __slots__ = ("at", "namespace", "number", "parcel", "rooms", "size", "skip")

    def __init__(
        self, number: int, at: float, namespace: str, rooms: list[Room] | None, skip: list[str], parcel: Parcel
    ) -> None:
        self.number = number
        self.at = at
        self.namespace = namespace
        self.rooms = rooms
        self.skip = skip
        self.parcel = parcel
        self.size = _OVERHEAD + len(parcel.packet) + sum(map(len, parcel.attachments))


class Away:
    """A client that is gone and may come back."""

    __slots__ = ("confirmed", "expires", "namespace", "opened_at", "pid", "rooms", "sid", "state")

    def __init__(
        self,
        pid: str,
        sid: str,
        namespace: str,
        rooms: dict[Room, int],
        state: dict[str, bytes],
        opened_at: int,
        confirmed: int,
        expires: float,
    ) -> None:
        self.pid = pid
        self.sid = sid
        self.namespace = namespace
        self.rooms = rooms
        """Each with the number of the last emit before the client joined."""
        self.state = state
        self.opened_at = opened_at
        self.confirmed = confirmed
        """The last emit that the client is known to have got."""
        self.expires = expires


class Recovery:
    """What one gateway keeps.

    Args:
        seconds: that a client may be away; 0 keeps nothing.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.boot = secrets.token_hex(3)
        self.last = 0
        """The number of the newest emit."""
        self.recovered = self.refused = 0
        self._log: deque[Entry] = deque()
        self._bytes = 0
        self._away: dict[str, Away] = {}

    def __len__(self) -> int:
        return len(self._away)

    @property
    def on(self) -> bool:
        return self.seconds > 0

    def offset(self, number: int) -> str:
        return f"{self.boot}.{number}"

    def keep(self, now: float, namespace: str, rooms: list[Room] | None, skip: list[str], parcel: Parcel) -> None:
        """Remember an emit under the number after the last."""
        self.last += 1
        parcel.number = self.last
        entry = Entry(self.last, now, namespace, rooms, skip, parcel)
        self._log.append(entry)
        self._bytes += entry.size
        while self._bytes > MOST_BYTES:
            self._bytes -= self._log.popleft().size

    def leave(self, away: Away) -> None:
        """A client is gone for now."""
        if len(self._away) >= MOST_AWAY:
            self._away.pop(next(iter(self._away)))
        self._away[away.pid] = away

    def back(self, pid: str, namespace: str, offset: Any, now: float) -> tuple[Away, int] | None:
        """A client that is back, and the number after which it has missed emits; None if that cannot be made good."""
        away = self._away.pop(pid, None)
        if away is None or away.expires < now or away.namespace != namespace:
            self.refused += 1
            return None
        after = self._after(away, offset)
        first = self._log[0].number if self._log else self.last + 1
        if after + 1 < first:  # some of what it missed is no longer kept
            self.refused += 1
            return None
        self.recovered += 1
        return away, after

    def missed(self, sid: str, namespace: str, rooms: dict[Room, int], after: int) -> list[Parcel]:
        """What was emitted to a client after a number, in order."""
        found: list[Parcel] = []
        for entry in reversed(self._log):
            if entry.number <= after:
                break
            if entry.namespace == namespace and sid not in entry.skip and _meant(entry, sid, rooms):
                found.append(entry.parcel)
        return found[::-1]

    def second(self, now: float) -> None:
        """Forget what is too old."""
        for pid in [pid for pid, away in self._away.items() if away.expires < now]:
            del self._away[pid]
        horizon = now - self.seconds - 60  # a half-open connection is noticed only by its ping
        while self._log and self._log[0].at < horizon:
            self._bytes -= self._log.popleft().size

    def _after(self, away: Away, offset: Any) -> int:
        if offset is None:
            return away.opened_at
        boot, _, number = offset.partition(".") if isinstance(offset, str) else ("", "", "")
        if boot == self.boot and len(number) <= _DIGITS and number.isdecimal() and int(number) <= self.last:
            return max(away.opened_at, int(number))
        return max(away.opened_at, away.confirmed)


def _meant(entry: Entry, sid: str, rooms: dict[Room, int]) -> bool:
    if entry.rooms is None:
        return True
    return any(room == sid or rooms.get(room, entry.number) < entry.number for room in entry.rooms)
