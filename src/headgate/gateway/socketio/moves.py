"""How packets reach an Engine.IO session: the poll that waits, and the WebSocket that is about to take over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from headgate.gateway import codes
from headgate.gateway.wire import Wire, text_frame

UPGRADE_TIMEOUT: Final = 10.0
"""Seconds for a client to finish the move to WebSocket."""


class Upgraded(Protocol):
    """A session, as far as its move to WebSocket needs it."""

    loop: asyncio.AbstractEventLoop

    def probed(self) -> None: ...

    def upgraded(self, wire: Wire) -> None: ...

    def probe_failed(self) -> None: ...


class Poll:
    """A polling request that waits for packets."""

    def __init__(self, done: Callable[[int, bytes], None]) -> None:
        self._done: Callable[[int, bytes], None] | None = done

    @property
    def open(self) -> bool:
        return self._done is not None

    def answer(self, status: int, payload: bytes) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(status, payload)

    def drop(self) -> None:
        """Its client has gone."""
        self._done = None


class Probe:
    """A WebSocket that is about to take a polling session over (Engine.IO "Upgrade")."""

    __slots__ = ("_timer", "probed", "session", "wire")

    def __init__(self, session: Upgraded, wire: Wire) -> None:
        self.session = session
        self.wire = wire
        self.probed = False
        self._timer = session.loop.call_later(UPGRADE_TIMEOUT, wire.close, codes.NORMAL)

    def message(self, data: str | bytes) -> None:
        if data == "2probe" and not self.probed:
            self.probed = True
            self.wire.write(text_frame(b"3probe"))
            self.session.probed()
        elif data == "5" and self.probed:
            self._timer.cancel()
            self.session.upgraded(self.wire)
        else:
            self.wire.close(codes.BAD_DATA, "no upgrade")

    def writable(self) -> None:
        """Nothing waits here."""

    def ended(self, code: int, reason: str) -> None:
        self._timer.cancel()
        self.session.probe_failed()
