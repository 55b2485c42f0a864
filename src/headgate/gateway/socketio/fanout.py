"""One packet for many clients, a part of them at a time, and never out of order."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from headgate.gateway.socketio.client import Client
from headgate.gateway.socketio.codec import Parcel

TURN: Final = 250
"""Clients that one emit is sent to before others get their turn."""


class Fanout:
    """Sends packets in the order in which they were given."""

    def __init__(self) -> None:
        self.delivered = 0
        self._queue: deque[tuple[Parcel, list[Client], bool]] = deque()

    def deliver(self, parcel: Parcel, clients: list[Client], droppable: bool = False) -> None:
        """Send to all of them; an emit to thousands holds nobody else up."""
        if not self._queue and len(clients) <= TURN:
            self._send(parcel, clients, droppable)
            return
        if not self._queue:
            asyncio.get_running_loop().call_soon(self._pass_on)
        self._queue.append((parcel, clients, droppable))

    def flush(self) -> None:
        """Send all that waits now: what comes next must not overtake it."""
        while self._queue:
            self._send(*self._queue.popleft())

    def _pass_on(self) -> None:
        left = TURN
        while self._queue and left > 0:
            parcel, clients, droppable = self._queue.popleft()
            now, rest = clients[:left], clients[left:]
            left -= len(now)
            self._send(parcel, now, droppable)
            if rest:
                self._queue.appendleft((parcel, rest, droppable))
        if self._queue:
            asyncio.get_running_loop().call_soon(self._pass_on)

    def _send(self, parcel: Parcel, clients: list[Client], droppable: bool) -> None:
        self.delivered += len(clients)
        for client in clients:
            client.send(parcel, droppable=droppable)
