"""Who is connected to which namespace and in which room, on this gateway. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from headgate.gateway.socketio.client import Client
from headgate.link.socketio import Room

MOST_ROOMS: Final = 10_000
"""Rooms of one client."""


class Rooms:
    """The clients of all namespaces."""

    def __init__(self) -> None:
        self.clients: dict[str, Client] = {}
        """By sid."""
        self._namespaces: dict[str, dict[str, Client]] = {}
        self._rooms: dict[tuple[str, Room], dict[Client, None]] = {}

    def __len__(self) -> int:
        return len(self.clients)

    @property
    def rooms(self) -> int:
        """Rooms that somebody is in."""
        return len(self._rooms)

    def namespaces(self) -> list[str]:
        return list(self._namespaces)

    def add(self, client: Client) -> None:
        self.clients[client.sid] = client
        self._namespaces.setdefault(client.namespace, {})[client.sid] = client

    def remove(self, client: Client) -> None:
        """Out of all rooms, and forgotten."""
        for room in list(client.rooms):
            self.leave(client, room)
        if self.clients.pop(client.sid, None) is None:
            return
        members = self._namespaces.get(client.namespace, {})
        members.pop(client.sid, None)
        if not members:
            self._namespaces.pop(client.namespace, None)

    def find(self, sid: str, namespace: str) -> Client | None:
        client = self.clients.get(sid)
        return client if client is not None and client.namespace == namespace else None

    def join(self, client: Client, room: Room, since: int = 0) -> bool:
        """False at the bound. `since`: the number of the last emit before."""
        if len(client.rooms) >= MOST_ROOMS:
            return False
        if room != client.sid and room not in client.rooms:
            client.rooms[room] = since
            self._rooms.setdefault((client.namespace, room), {})[client] = None
        return True

    def leave(self, client: Client, room: Room) -> None:
        client.rooms.pop(room, None)
        members = self._rooms.get((client.namespace, room))
        if members is not None:
            members.pop(client, None)
            if not members:
                del self._rooms[(client.namespace, room)]

    def close(self, namespace: str, room: Room) -> None:
        """Everybody out."""
        for client in list(self._rooms.get((namespace, room), ())):
            self.leave(client, room)

    def members(self, namespace: str, rooms: Iterable[Room] | None, skip: Iterable[str] = ()) -> list[Client]:
        """The clients in any of the rooms, each once, in the order of their coming; all of the namespace if None."""
        if rooms is None:
            found: Iterator[Client] | list[Client] = iter(self._namespaces.get(namespace, {}).values())
        else:
            several: dict[Client, None] = {}
            for room in rooms:
                several.update(self._in(namespace, room))
            found = list(several)
        without = frozenset(skip)
        return [client for client in found if client.sid not in without] if without else list(found)

    def _in(self, namespace: str, room: Any) -> dict[Client, None]:
        if isinstance(room, str) and (own := self.find(room, namespace)) is not None:
            return {own: None}
        return self._rooms.get((namespace, room), {})
