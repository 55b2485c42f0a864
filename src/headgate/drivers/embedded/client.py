"""The embedded engine as its clients have it: all ports over one caller."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headgate.base import ports
from headgate.base.clock import Clock, SystemClock
from headgate.drivers.embedded import wire
from headgate.drivers.embedded.caller import Caller, SocketCaller
from headgate.drivers.embedded.feeds import Feeds
from headgate.drivers.embedded.listeners import Listeners
from headgate.drivers.embedded.ports import ChannelPort, Operations, Orders, Sink, Source, StreamPort
from headgate.drivers.embedded.wire import Pushed, Said


class PortsEngine:
    """An `Engine` (base.ports) over whatever carries its requests."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._feeds = Feeds(caller)
        self._listeners = Listeners(caller)
        caller.pushed = self._pushed
        caller.connected = self._connected
        self.url = caller.url
        self.sink: ports.JobSink = Sink(caller)
        self.source: ports.JobSource = Source(caller)
        self.jobs: ports.Jobs = Orders(caller)
        self.streams: ports.Streams = StreamPort(caller, self._feeds)
        self.channels: ports.Channels = ChannelPort(caller, self._listeners)
        self.operations: ports.Operations = Operations(caller)

    async def open(self) -> None:
        """Connect.

        Raises:
            Unavailable: the engine does not answer within its connect time.
        """
        await self._caller.open()

    async def close(self) -> None:
        await self._caller.close()

    def status(self) -> Mapping[str, Any]:
        """How this client stands with the engine."""
        return {
            "url": self.url,
            "following": len(self._feeds),
            "channel_messages_dropped": self._listeners.dropped,
            **self._caller.status(),
        }

    async def facts(self) -> Mapping[str, Any]:
        """What the engine tells of itself: jobs by queue and state, rules, waiting workers."""
        reply: wire.Facts = await self._caller.ask(wire.Status, repeat=True)
        return reply.facts

    def _pushed(self, reply: Pushed | Said) -> None:
        if isinstance(reply, Pushed):
            self._feeds.pushed(reply)
        else:
            self._listeners.said(reply)

    def _connected(self) -> None:
        self._feeds.reconnected()
        self._listeners.reconnected()


class EmbeddedEngine(PortsEngine):
    """The embedded broker.

    Args:
        path: its Unix socket (`<data>/run/broker.sock`).
        worker: the job worker whose claims go back when this connection ends; only a job worker gives it.
        clock: for waits and deadlines.
    """

    def __init__(self, path: Path | str, *, worker: str | None = None, clock: Clock | None = None) -> None:
        super().__init__(SocketCaller(Path(path), clock or SystemClock(), worker or f"pid-{os.getpid()}", worker))
