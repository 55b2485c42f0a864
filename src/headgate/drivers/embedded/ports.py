"""The ports over a caller: what each call sends, and whether it may be sent twice."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, cast

from headgate.base.channels import ChannelNames
from headgate.base.errors import ConfigError
from headgate.base.model import (
    Batch,
    Claim,
    Cron,
    Event,
    JobRecord,
    JobSpec,
    JobState,
    NewEvent,
    Outcome,
    Receipt,
    Settlement,
)
from headgate.base.ports import ChannelSet
from headgate.base.streams import StreamInfo, StreamSpec, Write, Written
from headgate.drivers.embedded import wire
from headgate.drivers.embedded.caller import Caller
from headgate.drivers.embedded.feeds import Feeds
from headgate.drivers.embedded.listeners import Listeners
from headgate.drivers.embedded.wire import Reply


class Sink:
    """`JobSink`. A put may be repeated: the broker knows each id."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def put(self, specs: Sequence[JobSpec]) -> Sequence[Receipt]:
        jobs = list(specs)
        reply: wire.Receipts = await self._caller.ask(lambda n: wire.Put(n, jobs), repeat=True)
        return reply.receipts


class Source:
    """`JobSource`. All may be repeated: settlements are fenced by their epoch, reports by their number."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._reports = itertools.count(1)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def take(
        self, worker: str, queues: Sequence[str], most: int, functions: Sequence[str] | None = None
    ) -> Sequence[Claim]:
        wanted, known = list(queues), None if functions is None else list(functions)
        number = 0

        def make(n: int) -> wire.Take:
            nonlocal number
            number = n
            return wire.Take(n, worker, wanted, most, known)

        try:
            reply: wire.Claims = await self._caller.ask(
                make, repeat=True, patience=None, unwanted=lambda late: self._hand_back(worker, late)
            )
        except asyncio.CancelledError:
            self._caller.tell(wire.Untake(self._caller.number(), number))
            raise
        for claim in reply.claims:
            self._caller.held[claim.job.id] = claim.job.epoch
        return reply.claims

    async def renew(self, worker: str, held: Mapping[str, int]) -> Mapping[str, str]:
        reply: wire.Verdicts = await self._caller.ask(lambda n: wire.Renew(n, worker, dict(held)), repeat=True)
        return reply.verdicts

    async def progress(
        self, job_id: str, epoch: int, events: Sequence[NewEvent], checkpoint: bytes | None = None
    ) -> None:
        number = next(self._reports)
        await self._caller.ask(lambda n: wire.Report(n, job_id, epoch, number, list(events), checkpoint), repeat=True)

    async def settle(self, worker: str, settlements: Sequence[Settlement]) -> Sequence[bool]:
        flags: list[bool] = []
        for part in _parts(settlements):
            flags += await self._settle(worker, part)
        return flags

    async def _settle(self, worker: str, settlements: list[Settlement]) -> Sequence[bool]:
        reply: wire.Flags = await self._caller.ask(lambda n: wire.Settle(n, worker, settlements), repeat=True)
        for settlement in settlements:
            if self._caller.held.get(settlement.id) == settlement.epoch:
                del self._caller.held[settlement.id]
        return reply.flags

    async def abandon(self, worker: str, running: Sequence[str] | None = None) -> int:
        known = None if running is None else list(running)
        reply: wire.Number = await self._caller.ask(lambda n: wire.Abandon(n, worker, known), repeat=True)
        return reply.value

    def _hand_back(self, worker: str, late: Reply) -> None:
        if isinstance(late, wire.Claims) and late.claims:
            back = [Settlement(id=one.job.id, epoch=one.job.epoch, outcome=Outcome.RELEASED) for one in late.claims]
            task = asyncio.get_running_loop().create_task(self.settle(worker, back))
            self._tasks.add(task)
            task.add_done_callback(self._handed_back)

    def _handed_back(self, task: asyncio.Task[Any]) -> None:
        # If it failed, the end of the leases brings the jobs back.
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()


def _parts(settlements: Sequence[Settlement]) -> Iterator[list[Settlement]]:
    """Settlements in messages of at most `PAGE_BYTES`, or of one."""
    part, size = list[Settlement](), 0
    for one in settlements:
        weight = len(one.result or b"")
        if part and size + weight > wire.PAGE_BYTES:
            yield part
            part, size = [], 0
        part.append(one)
        size += weight
    if part:
        yield part


class Orders:
    """`Jobs`. What changes a state is not repeated: the second time it would be refused."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def get(self, job_id: str) -> JobRecord | None:
        reply: wire.Record = await self._caller.ask(lambda n: wire.Get(n, job_id), repeat=True)
        return reply.record

    async def find(
        self,
        *,
        states: Sequence[JobState] = (),
        queue: str | None = None,
        tag: str | None = None,
        function: str | None = None,
        after: str | None = None,
        most: int = 100,
    ) -> Sequence[JobRecord]:
        reply: wire.Records = await self._caller.ask(
            lambda n: wire.Find(n, list(states), queue, tag, function, after, most), repeat=True
        )
        return reply.records

    async def cancel(self, job_id: str) -> JobState:
        reply: wire.State = await self._caller.ask(lambda n: wire.CancelJob(n, job_id))
        return reply.state

    async def retry(self, job_id: str) -> JobState:
        reply: wire.State = await self._caller.ask(lambda n: wire.RetryJob(n, job_id))
        return reply.state

    async def stats(self) -> Mapping[str, Mapping[str, int]]:
        reply: wire.Facts = await self._caller.ask(wire.Stats, repeat=True)
        return cast(Mapping[str, Mapping[str, int]], reply.facts)


class Operations:
    """`Operations`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def purge(
        self, states: Sequence[JobState], *, queue: str | None = None, older: float = 0.0, most: int = 1_000
    ) -> int:
        reply: wire.Number = await self._caller.ask(
            lambda n: wire.Purge(n, list(states), queue, older, most), repeat=True
        )
        return reply.value

    async def set_queue(self, queue: str, **rules: Any) -> Mapping[str, Any]:
        reply: wire.Facts = await self._caller.ask(lambda n: wire.SetQueue(n, queue, rules), repeat=True)
        return reply.facts

    async def queues(self) -> Mapping[str, Mapping[str, Any]]:
        reply: wire.Facts = await self._caller.ask(wire.Queues, repeat=True)
        return reply.facts

    async def set_crons(self, owner: str, crons: Sequence[Cron]) -> None:
        await self._caller.ask(lambda n: wire.SetCrons(n, owner, list(crons)), repeat=True)

    async def crons(self) -> Sequence[tuple[str, Cron, float]]:
        reply: wire.CronList = await self._caller.ask(wire.Crons, repeat=True)
        return reply.crons


class StreamPort:
    """`Streams`. An append may be repeated: the broker knows its token."""

    def __init__(self, caller: Caller, feeds: Feeds) -> None:
        self._caller = caller
        self._feeds = feeds

    async def append(self, stream: str, events: Sequence[NewEvent]) -> int:
        token, new = os.urandom(12), list(events)
        reply: wire.Number = await self._caller.ask(lambda n: wire.Append(n, stream, new, token), repeat=True)
        return reply.value

    async def write(self, stream: str, write: Write) -> Written:
        token = os.urandom(12) if write.producer is None else b""
        reply: wire.Wrote = await self._caller.ask(lambda n: wire.WriteTo(n, stream, write, token), repeat=True)
        return reply.written

    async def create(self, stream: str, spec: StreamSpec, write: Write | None = None) -> tuple[StreamInfo, bool]:
        reply: wire.Seen = await self._caller.ask(lambda n: wire.Create(n, stream, spec, write))
        assert reply.info is not None
        return reply.info, reply.created

    async def info(self, stream: str, *, touch: bool = False) -> StreamInfo | None:
        reply: wire.Seen = await self._caller.ask(lambda n: wire.Look(n, stream, touch), repeat=True)
        return reply.info

    async def delete(self, stream: str) -> None:
        await self._caller.ask(lambda n: wire.Delete(n, stream))

    async def read(self, stream: str, after: int, most: int = 1000) -> Batch:
        reply: wire.Page = await self._caller.ask(lambda n: wire.Read(n, stream, after, most), repeat=True)
        return reply.batch

    def follow(self, stream: str, after: int) -> AsyncIterator[Event]:
        return self._feeds.follow(stream, after)


class ChannelPort:
    """`Channels`."""

    def __init__(self, caller: Caller, listeners: Listeners) -> None:
        self._caller = caller
        self._listeners = listeners

    async def publish(self, channel: str, payload: bytes) -> None:
        await self._caller.ask(lambda n: wire.Publish(n, channel, payload))

    def subscribe(self, channels: ChannelSet) -> AsyncIterator[tuple[str, bytes]]:
        if not isinstance(channels, ChannelNames):
            raise ConfigError("subscribe needs a headgate.base.channels.ChannelNames, whose changes it can hear")
        return self._listeners.subscribe(channels)
