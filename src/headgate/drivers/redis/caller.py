"""Carries the requests of the ports to Redis, and brings what Redis says unasked."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from typing import Any

from headgate.base.clock import Clock, SystemClock
from headgate.base.errors import HeadgateError
from headgate.base.model import Claim
from headgate.drivers.embedded import wire
from headgate.drivers.embedded.caller import PATIENCE, Make
from headgate.drivers.embedded.wire import Message, Pushed, Reply, Said
from headgate.drivers.local.store import Limits
from headgate.drivers.redis import durability, packing
from headgate.drivers.redis.address import Address
from headgate.drivers.redis.decide import Decisions
from headgate.drivers.redis.follows import CHANNEL as EVENTS
from headgate.drivers.redis.follows import Follows
from headgate.drivers.redis.link import Link
from headgate.drivers.redis.outgoing import CHANNEL as OUT
from headgate.drivers.redis.outgoing import Send, Sender
from headgate.drivers.redis.records import record, told
from headgate.drivers.redis.requests import SAID, Parts, carry_out
from headgate.drivers.redis.streams import StreamKeeper
from headgate.drivers.redis.takes import CHANNEL as WAKES
from headgate.drivers.redis.takes import Takes
from headgate.drivers.redis.upkeep import Member, Upkeep


class RedisCaller:
    """A `Caller` whose engine is a Redis.

    Args:
        address: where it is.
        limits: bounds and times of this client; all clients of one namespace should have the same.
        clock: turns the time for the server too; None: its own clock is the one that counts for everybody.
        member: name and facts under which this client is listed among all.
    """

    def __init__(self, address: Address, limits: Limits, clock: Clock | None, member: Member | None = None) -> None:
        self.url = address.shown
        self.pushed: Callable[[Pushed | Said], None] = lambda _: None
        self.connected: Callable[[], None] = lambda: None
        self.held: dict[str, int] = {}
        self.prefix = f"{{{address.namespace}}}:"
        self.link = Link(address, self.prefix, self._heard, self._reconnected, clock.now if clock else None)
        decisions = Decisions(self.run)
        streams = StreamKeeper(self.run, limits)
        self.parts = Parts(
            run=self.run,
            address=address,
            limits=limits,
            link=self.link,
            decisions=decisions,
            takes=Takes(self.run, limits.lease, self._reconcile),
            streams=streams,
            follows=Follows(streams.read_plain, self._push, self._subscribe),
            upkeep=Upkeep(
                self.run,
                decisions,
                clock or SystemClock(),
                lease=limits.lease,
                depth=limits.queue_depth,
                member=member,
                outgoing=self._out,
            ),
            subscribe=self._subscribe,
            refused={},
        )
        self.senders: dict[str, Sender] = {}
        """What sends the tickets of each carrier that this process can reach."""
        self._member = member
        self._numbers = itertools.count(1)
        self._working: asyncio.Task[None] | None = None
        self._aside: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Connect.

        Raises:
            Unavailable: no server answers. ConfigError: it does, and will not do.
        """
        await self.link.open(PATIENCE)
        self._working = asyncio.get_running_loop().create_task(self.parts.upkeep.work())

    def carry(self, carrier: str, send: Send) -> None:
        """This process can send tickets of a carrier from now on."""
        self.senders[carrier] = Sender(carrier, self.run, send)
        self._subscribe([OUT + carrier], True)

    async def claim_one(self, worker: str, job: str) -> Claim | None:
        """Claim the job whose ticket came; None if it is not to be run."""
        fields = await self.run("claim_one", [job, worker, self.parts.limits.lease], repeat=False)
        if not fields:
            return None
        held = record(fields)
        self.held[job] = held.epoch
        return Claim(held, self.parts.limits.lease)

    async def close(self) -> None:
        for sender in self.senders.values():
            sender.close()
        tasks = [task for task in (self._working, *self._aside) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.parts.follows.close()
        if self._member is not None and self.link.up:
            with contextlib.suppress(HeadgateError):  # its name grows old by itself
                await self.run("part", [self._member()[0]], patience=0.5)
        await self.link.close()

    def number(self) -> int:
        return next(self._numbers)

    def status(self) -> dict[str, Any]:
        return {
            "connected": self.link.up,
            "reconnects": max(0, self.link.reconnects),
            "server": durability.told(self.link.facts),
            "scripts": self.link.scripts.kind,
        }

    async def run(
        self, operation: str, arguments: Any, *, repeat: bool = True, patience: float | None = PATIENCE
    ) -> Any:
        """Run an operation of the scripts; see `Link.run`."""
        return await self.link.run(operation, packing.arguments(arguments), repeat=repeat, patience=patience)

    async def ask(
        self,
        make: Make,
        *,
        repeat: bool = False,
        patience: float | None = PATIENCE,
        unwanted: Callable[[Reply], None] | None = None,
    ) -> Any:
        """One request and its reply. Whether an operation may be sent twice is known here, by its kind."""
        work = carry_out(self.parts, make(self.number()), patience)
        if unwanted is None:
            return await work
        task = asyncio.get_running_loop().create_task(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._aside.add(task)
            task.add_done_callback(lambda done: self._late(done, unwanted))
            raise

    def tell(self, message: Message) -> None:
        if isinstance(message, wire.Untake):
            self.parts.takes.call_back(message.take)
        elif isinstance(message, wire.More):
            self.parts.follows.more(message.n, message.count)
        elif isinstance(message, wire.Unfollow):
            self.parts.follows.end(message.n)

    def _heard(self, channel: bytes, payload: bytes) -> None:
        name = channel.decode()[len(self.prefix) :]
        kind, rest = name[:3], name[3:]
        if kind == EVENTS:
            self.parts.follows.heard(rest, told(payload))
        elif kind == WAKES:
            self.parts.takes.heard(payload)
        elif kind == OUT:
            self._out(rest)
        elif kind == SAID:
            self.pushed(Said(0, rest, payload))

    def _out(self, carrier: str) -> None:
        if carrier in self.senders:
            self.senders[carrier].look()

    def _push(self, reply: Pushed) -> None:
        self.pushed(reply)

    def _reconnected(self) -> None:
        self._subscribe([WAKES + self.parts.takes.client, *(OUT + carrier for carrier in self.senders)], True)
        self.parts.follows.forget()
        self.parts.takes.connected()
        self.connected()

    def _subscribe(self, names: list[str], wanted: bool) -> None:
        self.link.subscribe([self.prefix + name for name in names], wanted)

    def _late(self, task: asyncio.Task[Any], unwanted: Callable[[Reply], None]) -> None:
        self._aside.discard(task)
        if not task.cancelled() and task.exception() is None:
            unwanted(task.result())

    async def _reconcile(self, worker: str) -> None:
        """Claims of the worker that we do not know of never reached it, and were never begun."""
        held = [job.decode() for job in await self.run("holdings", [worker], patience=None)]
        lost = {job: False for job in held if job not in self.held}
        if lost:
            await self.parts.decisions.lose(lost, worker)
