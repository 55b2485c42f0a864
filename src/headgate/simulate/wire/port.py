"""The two sides of a wire: what a user asks of it, and what it tells the user."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from headgate.simulate.wire.source import SourceAddresses


class Sink(Protocol):
    """What a wire tells its user. `at` is the monotonic moment at which the bytes were read."""

    def received(self, message: Any, at: float) -> None: ...

    def closed(self, code: int, reason: str) -> None:
        """An opened wire is closed; called once. 1006 means that no close frame came."""


class HttpSink(Sink, Protocol):
    """What a user hears besides, of requests."""

    def retried(self) -> None:
        """A request met a connection that had just closed, and is sent again."""


class UserSink(HttpSink, Protocol):
    """What a user hears besides, of a wire that can change its transport."""

    def upgraded(self, moved: bool) -> None:
        """The try to move from polling to a WebSocket is over; without success the user stays on polling."""


class Wire(Protocol):
    """One user's way to the target. A wire is opened once; a reconnect makes a new one."""

    async def open(self) -> None:
        """Connect and shake hands. Raises `TargetError` when that fails."""

    def send(self, message: Any, click_id: int | None = None) -> None:
        """Send without waiting; `click_id` ties an answer to it where the protocol can."""

    def close(self) -> None:
        """Say goodbye in the protocol's way, then close."""

    def abort(self) -> None:
        """Cut the connection at once, as a lost network does."""

    def pause(self) -> None:
        """Stop reading from the socket."""

    def resume(self) -> None:
        """Read again."""


@dataclass(slots=True)
class WireOptions:
    """What all wires of a generator share. `timeout` is for connecting and shaking hands, seconds."""

    url: str
    timeout: float
    sources: SourceAddresses
    headers: Mapping[str, str] = field(default_factory=dict)
    subprotocols: Sequence[str] = ()
    tls: ssl.SSLContext | None = None
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
