"""What is kept of a session beside its transport: its clients by namespace, and what their events left."""

from __future__ import annotations

import asyncio
from typing import Final

from headgate.gateway.socketio.client import Client, Half

MOST_STATE: Final = 256 * 1024
"""Bytes of one session's state."""


class Carried:
    """What the hub keeps of a session."""

    __slots__ = ("clients", "half", "leaving", "state", "timer", "wake")

    def __init__(self) -> None:
        self.clients: dict[str, Client] = {}
        """By namespace."""
        self.half: Half | None = None
        self.leaving = 0
        """Clients that have left their namespaces and whose last events have not run yet."""
        self.state: dict[str, bytes] = {}
        self.timer: asyncio.TimerHandle | None = None
        self.wake: list[asyncio.Future[None]] = []
        """Polling requests that wait for the inbox to empty."""

    def forget(self) -> None:
        """The session has moved to another gateway."""
        if self.timer is not None:
            self.timer.cancel()

    @property
    def waiting(self) -> int:
        """Events that wait for their turn."""
        return sum(len(client.inbox) for client in self.clients.values())

    def awake(self) -> None:
        """Polling requests that waited go on."""
        waiting, self.wake = self.wake, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def keep(self, changed: dict[str, bytes]) -> bool:
        """Set entries of the state, and remove those that are empty; False (and nothing changed) at the bound."""
        state = {key: value for key, value in {**self.state, **changed}.items() if value}
        if sum(map(len, state.values())) > MOST_STATE:
            return False
        self.state = state
        return True
