"""What each kind of request does: the table from message to operations of the scripts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from headgate.base import cron
from headgate.base.errors import ConfigError, LeaseLost, QueueFull, TooLarge, Unavailable, UnknownJob
from headgate.base.model import Cron, JobSpec, Receipt
from headgate.drivers.embedded import wire
from headgate.drivers.embedded.caller import PATIENCE
from headgate.drivers.embedded.wire import Message
from headgate.drivers.local import queues
from headgate.drivers.local.store import Limits, QueueRules
from headgate.drivers.redis import packing
from headgate.drivers.redis.address import Address
from headgate.drivers.redis.decide import Decisions
from headgate.drivers.redis.follows import Follows
from headgate.drivers.redis.line import Line
from headgate.drivers.redis.link import Link
from headgate.drivers.redis.records import NUMBER, STATES, listed, pack, record, seq_of, wanted
from headgate.drivers.redis.streams import StreamKeeper
from headgate.drivers.redis.takes import Takes
from headgate.drivers.redis.upkeep import Upkeep

SAID: Final = ">c:"
"""Channels under it are those of `Channels`."""
PAGE: Final = 1_000
"""Jobs looked at by one call of `find` or `purge`."""

_cron: msgspec.msgpack.Decoder[Cron] = msgspec.msgpack.Decoder(Cron)
_rules: msgspec.msgpack.Decoder[QueueRules] = msgspec.msgpack.Decoder(QueueRules)


class Run(Protocol):
    """Runs an operation of the scripts."""

    async def __call__(
        self, operation: str, arguments: Any, *, repeat: bool = True, patience: float | None = PATIENCE
    ) -> Any: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What requests work with."""

    run: Run
    address: Address
    limits: Limits
    link: Link
    decisions: Decisions
    takes: Takes
    streams: StreamKeeper
    follows: Follows
    upkeep: Upkeep
    subscribe: Callable[[list[str], bool], None]
    refused: dict[str, str]
    """Carriers whose jobs are not accepted, and why."""


async def carry_out(parts: Parts, message: Message, patience: float | None) -> Any:
    """Do one request; returns its reply.

    Raises:
        HeadgateError: it is refused, or Redis does not answer within `patience` seconds.
    """
    return await _TABLE[type(message)](parts, message, patience)


# ---------------------------------------------------------------------- jobs


async def _put(parts: Parts, asked: wire.Put, patience: float | None) -> wire.Receipts:
    specs = list(asked.specs)
    _check_sizes(specs, parts.limits.arguments_bytes)
    _check_carriers(specs, parts.refused)
    need = parts.address.wait_replicas
    while True:
        arguments = [[wanted(spec) for spec in specs], parts.limits.queue_depth, bool(need)]
        if need:
            said, line = await parts.link.run_on("put", packing.arguments(arguments), patience)
        else:
            said, line = await parts.run("put", arguments, patience=patience), None
        if not said or isinstance(said[0], list):
            break
        specs = _again(specs, said)
    if any(spec.not_before is not None for spec in specs):
        parts.upkeep.look_soon()
    if line is not None:
        await _replicated(parts, line)
    return wire.Receipts(asked.n, [Receipt(job.decode(), bool(created)) for job, created in said])


def _check_sizes(specs: list[JobSpec], bound: int) -> None:
    for spec in specs:
        if len(spec.arguments) > bound:
            raise TooLarge(
                f"the arguments of a {spec.function} job have {len(spec.arguments)} bytes and may have {bound}; "
                "nothing was enqueued. Store the data elsewhere and pass where it is, or raise job_arguments_bytes"
            )
    whole = sum(len(spec.arguments) for spec in specs)
    if whole > wire.REQUEST_LIMIT:
        raise TooLarge(
            f"the arguments of {len(specs)} jobs in one put have {whole} bytes and may have {wire.REQUEST_LIMIT}; "
            "nothing was enqueued. Put them in parts"
        )


def _check_carriers(specs: list[JobSpec], refused: dict[str, str]) -> None:
    for spec in specs:
        if spec.carrier in refused:
            raise ConfigError(
                f'a {spec.function} job has engine="{spec.carrier}" and would never be sent there: '
                f"{refused[spec.carrier]}. Nothing was enqueued"
            )


def _again(specs: list[JobSpec], said: list[Any]) -> list[JobSpec]:
    """What to put instead; or why it is refused."""
    kind, rest = said[1], said[2:]
    if kind == b"full":
        queue, there, depth, more = rest
        raise QueueFull(
            f"queue {queue.decode()!r} holds {there} waiting jobs and may hold {depth}; {more} more were not accepted. "
            "Try again later, add job workers, or raise queue_depth"
        )
    if kind == b"needs":
        job, needed = (one.decode() for one in rest)
        raise UnknownJob(f"job {job} is to wait for {needed}, which is not there: put it before, or in the same put")
    older = {rest[at].decode(): rest[at + 1].decode() for at in range(0, len(rest), 2)}
    return [
        msgspec.structs.replace(spec, after=tuple(older.get(needed, needed) for needed in spec.after)) for spec in specs
    ]


async def _replicated(parts: Parts, line: Line) -> None:
    need, seconds = parts.address.wait_replicas, parts.address.wait_timeout
    have = await parts.link.replicated(line, need, seconds)
    if have < need:
        raise Unavailable(
            f"the job is on the server, but only {have} of {need} replicas had it within {seconds:g} s: a fail-over "
            "now could lose it. Put it again under the same id (or idempotency key) to be sure; it will not run twice"
        )


async def _take(parts: Parts, asked: wire.Take, patience: float | None) -> wire.Claims:
    return await parts.takes.take(asked)


async def _renew(parts: Parts, asked: wire.Renew, patience: float | None) -> wire.Verdicts:
    flat = [part for item in asked.held.items() for part in item]
    said = await parts.run("renew", [flat, parts.limits.lease], patience=patience)
    pairs = zip(said[::2], said[1::2], strict=True)
    return wire.Verdicts(asked.n, {job.decode(): verdict.decode() for job, verdict in pairs})


async def _report(parts: Parts, asked: wire.Report, patience: float | None) -> wire.Ok:
    checkpoint, limits = asked.checkpoint, parts.limits
    if checkpoint is not None and len(checkpoint) > limits.checkpoint_bytes:
        raise TooLarge(
            f"the checkpoint of job {asked.job} has {len(checkpoint)} bytes and may have {limits.checkpoint_bytes}; "
            "it was not stored. Keep a position, not the data, or raise job_arguments_bytes"
        )
    newest = next((event.data for event in reversed(asked.events) if event.kind == "progress"), None)
    flat = [part for event in asked.events for part in (event.kind, pack(event.data))]
    kept = (False if newest is None else pack(newest), False if checkpoint is None else checkpoint)
    bounds = (limits.job_stream_events, limits.job_stream_bytes)
    arguments = [asked.job, asked.epoch, asked.number, flat, *kept, *bounds]
    if not await parts.run("report", arguments, patience=patience):
        raise LeaseLost(f"job {asked.job} is no longer held under epoch {asked.epoch}; its report was refused")
    return wire.Ok(asked.n)


async def _settle(parts: Parts, asked: wire.Settle, patience: float | None) -> wire.Flags:
    return wire.Flags(asked.n, await parts.decisions.settle(asked.settlements))


async def _abandon(parts: Parts, asked: wire.Abandon, patience: float | None) -> wire.Number:
    held = [job.decode() for job in await parts.run("holdings", [asked.worker], patience=patience)]
    running = held[:1] if asked.running is None else asked.running
    return wire.Number(asked.n, await parts.decisions.lose({job: job in running for job in held}, asked.worker))


async def _get(parts: Parts, asked: wire.Get, patience: float | None) -> wire.Record:
    fields = await parts.run("get", [asked.job], patience=patience)
    return wire.Record(asked.n, None if fields is None else record(fields))


async def _find(parts: Parts, asked: wire.Find, patience: float | None) -> wire.Records:
    states: Any = [NUMBER[state] for state in asked.states] or False
    filters = [asked.queue or False, asked.tag or False, asked.function or False]
    before: Any = False if asked.after is None else await _place(parts, asked.after)
    found: list[Any] = []
    while len(found) < asked.most:
        arguments = [states, *filters, before, asked.most - len(found), PAGE]
        before, more = await parts.run("find", arguments, patience=patience)
        found += more
        if not before:
            break
    return wire.Records(asked.n, [listed(fields) for fields in found])


async def _place(parts: Parts, job: str) -> int:
    fields = await parts.run("get", [job])
    if fields is None:
        raise UnknownJob(f"no job has the id {job}: it never existed, or its time to live is over")
    return seq_of(fields)


async def _cancel(parts: Parts, asked: wire.CancelJob, patience: float | None) -> wire.State:
    return wire.State(asked.n, await parts.decisions.cancel(asked.job))


async def _retry(parts: Parts, asked: wire.RetryJob, patience: float | None) -> wire.State:
    return wire.State(asked.n, await parts.decisions.revive(asked.job))


async def _purge(parts: Parts, asked: wire.Purge, patience: float | None) -> wire.Number:
    gone = 0
    for state in (one for one in asked.states if one.terminal):
        at = 0
        while at >= 0 and gone < asked.most:
            arguments = [NUMBER[state], asked.queue or False, asked.older, asked.most - gone, PAGE, at]
            some, at = await parts.run("purge", arguments, patience=patience)
            gone += some
    return wire.Number(asked.n, gone)


async def _stats(parts: Parts, asked: wire.Stats | wire.Status, patience: float | None) -> wire.Facts:
    said = await parts.run("stats", [], patience=patience)
    counted: dict[str, dict[str, int]] = {}
    for name, count in sorted(zip(said[::2], said[1::2], strict=True)):
        queue, _, state = name.decode().rpartition("\0")
        if int(count) > 0:
            counted.setdefault(queue, {})[STATES[int(state)].value] = int(count)
    return wire.Facts(asked.n, counted)


# ---------------------------------------------------------------------- operations


async def _set_queue(parts: Parts, asked: wire.SetQueue, patience: float | None) -> wire.Facts:
    while True:
        old = (await _all_rules(parts, patience)).get(asked.queue)
        changed = queues.merged(asked.queue, None if old is None else _rules.decode(old), asked.rules)
        if await parts.run("set_rules", [asked.queue, old or b"", pack(changed)], patience=patience):
            return wire.Facts(asked.n, queues.told(changed))


async def _queues(parts: Parts, asked: wire.Queues | wire.Status, patience: float | None) -> wire.Facts:
    rules = sorted((await _all_rules(parts, patience)).items())
    return wire.Facts(asked.n, {queue: queues.told(_rules.decode(raw)) for queue, raw in rules})


async def _all_rules(parts: Parts, patience: float | None) -> dict[str, bytes]:
    said = await parts.run("rules", [], patience=patience)
    return {queue.decode(): raw for queue, raw in zip(said[::2], said[1::2], strict=True)}


async def _set_crons(parts: Parts, asked: wire.SetCrons, patience: float | None) -> wire.Ok:
    now = float(await parts.run("now", [], patience=patience))
    flat: list[Any] = [asked.owner]
    for one in asked.crons:
        moment = cron.parse(one.expression, one.zone).after(now)
        flat += [one.name, pack(one), moment, f"{one.expression}\0{one.zone}"]
    await parts.run("set_crons", flat, patience=patience)
    parts.upkeep.look_soon()
    return wire.Ok(asked.n)


async def _crons(parts: Parts, asked: wire.Crons, patience: float | None) -> wire.CronList:
    said = await parts.run("crons", [], patience=patience)
    return wire.CronList(asked.n, [(owner.decode(), _cron.decode(raw), float(at)) for owner, raw, at in said])


async def _status(parts: Parts, asked: wire.Status, patience: float | None) -> wire.Facts:
    jobs, rules = await _stats(parts, asked, patience), await _queues(parts, asked, patience)
    return wire.Facts(asked.n, {"path": parts.address.shown, "jobs": jobs.facts, "queues": rules.facts})


# ---------------------------------------------------------------------- streams and channels


async def _append(parts: Parts, asked: wire.Append, patience: float | None) -> wire.Number:
    return wire.Number(asked.n, await parts.streams.append(asked.stream, asked.events, asked.token))


async def _write_to(parts: Parts, asked: wire.WriteTo, patience: float | None) -> wire.Wrote:
    return wire.Wrote(asked.n, await parts.streams.write(asked.stream, asked.write))


async def _create(parts: Parts, asked: wire.Create, patience: float | None) -> wire.Seen:
    info, created = await parts.streams.create(asked.stream, asked.spec, asked.write)
    return wire.Seen(asked.n, info, created)


async def _look(parts: Parts, asked: wire.Look, patience: float | None) -> wire.Seen:
    return wire.Seen(asked.n, await parts.streams.info(asked.stream, asked.touch))


async def _delete(parts: Parts, asked: wire.Delete, patience: float | None) -> wire.Ok:
    await parts.streams.delete(asked.stream)
    return wire.Ok(asked.n)


async def _read(parts: Parts, asked: wire.Read, patience: float | None) -> wire.Page:
    return wire.Page(asked.n, await parts.streams.read_plain(asked.stream, asked.after, asked.most, patience))


async def _follow(parts: Parts, asked: wire.Follow, patience: float | None) -> wire.Ok:
    await parts.follows.begin(asked.n, asked.stream, asked.after, patience)
    return wire.Ok(asked.n)


async def _publish(parts: Parts, asked: wire.Publish, patience: float | None) -> wire.Ok:
    await parts.run("publish", [asked.channel, asked.payload], repeat=False, patience=patience)
    return wire.Ok(asked.n)


async def _want(parts: Parts, asked: wire.Want, patience: float | None) -> wire.Ok:
    parts.subscribe([SAID + channel for channel in asked.channels], asked.wanted)
    return wire.Ok(asked.n)


Work = Callable[[Parts, Any, float | None], Awaitable[Any]]

_TABLE: Final[dict[type[Message], Work]] = {
    wire.Put: _put,
    wire.Take: _take,
    wire.Renew: _renew,
    wire.Report: _report,
    wire.Settle: _settle,
    wire.Abandon: _abandon,
    wire.Get: _get,
    wire.Find: _find,
    wire.CancelJob: _cancel,
    wire.RetryJob: _retry,
    wire.Purge: _purge,
    wire.Stats: _stats,
    wire.SetQueue: _set_queue,
    wire.Queues: _queues,
    wire.SetCrons: _set_crons,
    wire.Crons: _crons,
    wire.Status: _status,
    wire.Append: _append,
    wire.WriteTo: _write_to,
    wire.Create: _create,
    wire.Look: _look,
    wire.Delete: _delete,
    wire.Read: _read,
    wire.Follow: _follow,
    wire.Publish: _publish,
    wire.Want: _want,
}
