"""Asking the broker: what the ports need of whoever carries their requests, and the one that uses a Unix socket."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol, cast

from headgate.base.clock import Clock
from headgate.base.errors import HeadgateError, ProtocolError, Unavailable
from headgate.drivers.embedded import codec, wire
from headgate.drivers.embedded.session import Session
from headgate.drivers.embedded.wire import Message, Pushed, Reply, Said

PATIENCE: Final = 5.0
"""Seconds that a request waits for a broker that is away, unless told otherwise."""
FIRST_WAIT, GREATEST_WAIT = 0.02, 1.0
"""Seconds between two attempts to connect; doubled each time, with jitter."""

Make = Callable[[int], Message]


class Caller(Protocol):
    """Carries requests to an engine and brings what it says."""

    url: str
    pushed: Callable[[Pushed | Said], None]
    """Called with what comes unasked; set by whoever uses the caller."""
    connected: Callable[[], None]
    """Called when a connection is there, the first time and again; what was subscribed must be so anew."""

    held: dict[str, int]
    """Claims (job id → epoch) that are known to be held over this caller: told at a reconnect."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def ask(
        self,
        make: Make,
        *,
        repeat: bool = False,
        patience: float | None = PATIENCE,
        unwanted: Callable[[Reply], None] | None = None,
    ) -> Any:
        """One request and its reply.

        Args:
            make: makes the message from its number.
            repeat: it may be sent twice without harm.
            patience: seconds to wait; None for ever.
            unwanted: called with a reply that comes after the asking task was cancelled.

        Raises:
            TooLarge: the request is longer than one may be.
            Unavailable, EngineGone, and what the engine answers.
        """

    def tell(self, message: Message) -> None:
        """Send what has no reply; nothing happens when there is no connection."""

    def number(self) -> int: ...

    def status(self) -> dict[str, Any]: ...


class SocketCaller:
    """The broker over its Unix socket: pipelined, and connected anew whenever the connection breaks.

    Args:
        path: the broker's socket.
        clock: for waits and deadlines.
        client: what the broker calls this client.
        worker: the job worker whose claims end with the connection, if this is one.
    """

    def __init__(self, path: Path, clock: Clock, client: str, worker: str | None = None) -> None:
        self.path = path
        self.url = f"unix:{path}"
        self.pushed: Callable[[Pushed | Said], None] = lambda _: None
        self.connected: Callable[[], None] = lambda: None
        self._clock = clock
        self._session = Session(client, self._push, worker)
        self.held = self._session.held
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._closed = False
        self._down = asyncio.Event()
        self._reconnects = -1
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Connect.

        Raises:
            Unavailable: the broker does not answer within `PATIENCE`.
        """
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._stay_connected()), loop.create_task(self._watch_deadlines())]
        try:
            await self.ask(wire.Stats, repeat=True)
        except HeadgateError as exc:
            await self.close()
            raise Unavailable(f"no broker answers at {self.path}: {exc}") from exc

    async def close(self) -> None:
        self._closed = True
        self._flush()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._transport is not None:
            self._transport.close()
        self._session.fail(Unavailable("the connection to the broker was closed here"))

    def number(self) -> int:
        return self._session.number()

    async def ask(
        self,
        make: Make,
        *,
        repeat: bool = False,
        patience: float | None = PATIENCE,
        unwanted: Callable[[Reply], None] | None = None,
    ) -> Any:
        if self._closed:
            raise Unavailable("the connection to the broker was closed here")
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def answered(reply: Reply | HeadgateError) -> None:
            if future.done():
                if unwanted is not None and not isinstance(reply, HeadgateError):
                    unwanted(reply)
            elif isinstance(reply, HeadgateError):
                future.set_exception(reply)
            else:
                future.set_result(reply)

        n = self._session.number()
        until = float("inf") if patience is None else self._clock.monotonic() + patience
        self._send(self._session.ask(make(n), answered, repeat=repeat, until=until))
        try:
            return await future
        except asyncio.CancelledError:
            if unwanted is None:
                self._session.drop(n)
            elif future.cancelled():
                self._session.unwanted(n)
            elif future.exception() is None:
                unwanted(future.result())
            raise

    def tell(self, message: Message) -> None:
        if self._session.connected:
            self._send(codec.framed(message))

    def status(self) -> dict[str, Any]:
        return {"path": str(self.path), "connected": self._session.connected, "reconnects": max(0, self._reconnects)}

    def _push(self, reply: Pushed | Said) -> None:
        self.pushed(reply)

    def _send(self, data: bytes) -> None:
        if data:
            if not self._out:
                asyncio.get_running_loop().call_soon(self._flush)
            self._out.append(data)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self._transport is not None:
            self._transport.write(b"".join(out))

    async def _stay_connected(self) -> None:
        wait = FIRST_WAIT
        while True:
            try:
                await asyncio.get_running_loop().create_unix_connection(lambda: _Connection(self), str(self.path))
            except OSError:
                await self._clock.sleep(wait * (0.5 + random.random()))
                wait = min(GREATEST_WAIT, wait * 2)
                continue
            wait = FIRST_WAIT
            await self._down.wait()
            await self._clock.sleep(wait * random.random())

    async def _watch_deadlines(self) -> None:
        while True:
            await self._clock.sleep(0.25)
            self._session.overdue(self._clock.monotonic())

    # What the connection tells.

    def made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._reconnects += 1
        self._down.clear()
        self._out.clear()
        transport.write(self._session.begin())
        self.connected()

    def data(self, data: bytes) -> None:
        try:
            self._session.received(data)
        except ProtocolError:
            if self._transport is not None:
                self._transport.abort()

    def broke(self) -> None:
        self._transport = None
        self._out.clear()
        self._session.lost()
        self._down.set()


class _Connection(asyncio.Protocol):
    """One connection: hands everything to the caller."""

    def __init__(self, caller: SocketCaller) -> None:
        self._caller = caller

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._caller.made(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        self._caller.data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._caller.broke()
