"""The local engine in process, with nothing on disk: same code, same messages, no socket."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from headgate.base.clock import Clock, SystemClock
from headgate.base.errors import Unavailable
from headgate.drivers.embedded import codec, wire
from headgate.drivers.embedded.caller import PATIENCE, Make
from headgate.drivers.embedded.client import PortsEngine
from headgate.drivers.embedded.wire import Message, Pushed, Reply, Said
from headgate.drivers.local.desk import Desk
from headgate.drivers.local.store import MEMORY, Limits, Store


class Loopback:
    """A `Caller` whose engine is a desk in the same loop.

    Messages are encoded all the same: what could not travel fails here too.
    """

    url = "memory"

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self.pushed: Callable[[Pushed | Said], None] = lambda _: None
        self.connected: Callable[[], None] = lambda: None
        self.held: dict[str, int] = {}
        self._clock = clock
        self._limits = limits
        self._desk: Desk | None = None
        self._numbers = itertools.count(1)
        self._pending: dict[int, Callable[[Reply], None]] = {}

    async def open(self) -> None:
        if self._desk is None:
            self._desk = Desk(Store(MEMORY, self._clock, self._limits), self._clock)
            self._desk.start()

    async def close(self) -> None:
        desk, self._desk = self._desk, None
        if desk is not None:
            await desk.stop()
            desk.store.close()
        for answered in list(self._pending.values()):
            answered(codec.failed(0, Unavailable("the memory engine was closed")))

    async def ask(
        self,
        make: Make,
        *,
        repeat: bool = False,
        patience: float | None = PATIENCE,
        unwanted: Callable[[Reply], None] | None = None,
    ) -> Any:
        if self._desk is None:
            raise Unavailable("the memory engine is not open; await engine.open() first")
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def answered(reply: Reply) -> None:
            if not future.done():
                future.set_result(reply)
            elif unwanted is not None:
                unwanted(reply)

        n = self.number()
        request = codec.decode_request(codec.encode_request(make(n)))
        self._pending[n] = answered
        self._desk.submit(self, request)
        try:
            reply = await future
        except asyncio.CancelledError:
            if unwanted is not None and future.done() and not future.cancelled():
                unwanted(future.result())
            raise
        if isinstance(reply, wire.Failed):
            raise codec.raised(reply)
        return reply

    def tell(self, message: Message) -> None:
        if self._desk is not None:
            self._desk.submit(self, codec.decode_request(codec.encode(message)))

    def number(self) -> int:
        return next(self._numbers)

    def status(self) -> dict[str, Any]:
        return {"connected": self._desk is not None}

    # The desk's side: this is its only peer.

    def send(self, message: Message) -> None:
        reply = codec.decode_reply(codec.encode(message))
        if isinstance(reply, Pushed | Said):
            self.pushed(reply)
        elif (answered := self._pending.pop(reply.n, None)) is not None:
            answered(reply)

    def say(self, channel: str, payload: bytes) -> None:
        self.pushed(Said(0, channel, payload))


class MemoryEngine(PortsEngine):
    """A whole engine in this process: jobs, streams, channels; gone when it is closed.

    Args:
        clock: a `ManualClock` lets a test turn the time.
        limits: leases and bounds, as those of the broker.
    """

    def __init__(self, *, clock: Clock | None = None, limits: Limits | None = None) -> None:
        super().__init__(Loopback(clock or SystemClock(), limits or Limits()))
