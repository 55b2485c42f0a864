"""What each kind of request does within a transaction: the table from message to function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from headgate.base.errors import StreamError
from headgate.base.model import Batch, Event
from headgate.drivers.embedded import wire
from headgate.drivers.embedded.wire import Message
from headgate.drivers.local import accept, claims, crons, lookup, queues, streams, upkeep
from headgate.drivers.local.rates import Rates
from headgate.drivers.local.rows import fetch
from headgate.drivers.local.store import Store
from headgate.drivers.local.subscriptions import Peer, Subscription, Subscriptions
from headgate.drivers.local.waiting import Waiting


@dataclass(frozen=True, slots=True)
class Parts:
    """What requests work on."""

    store: Store
    rates: Rates
    waiting: Waiting
    subscriptions: Subscriptions


class Tick(msgspec.Struct, frozen=True):
    """The desk's own request: do what is due."""


@dataclass(frozen=True, slots=True)
class CatchUp:
    """The desk's own request: read on for a subscription that is behind."""

    subscription: Subscription


Desked = wire.Request | Tick | CatchUp
Then = Callable[[], None]
Done = Message | Then | None
"""A reply, or what is to be done after the commit, or nothing yet."""


def carry_out(parts: Parts, peer: Peer | None, request: Desked) -> Done:
    """Do one request in the transaction under way.

    Raises:
        HeadgateError: it is refused; nothing was changed.
        sqlite3.Error: the transaction as a whole cannot go on.
    """
    return _TABLE[type(request)](parts, peer, request)


def _hello(parts: Parts, peer: Peer | None, request: wire.Hello) -> Done:
    if request.worker is not None:
        claims.reconcile(parts.store, request.worker, request.held)
    return None


def _put(parts: Parts, peer: Peer | None, request: wire.Put) -> Done:
    return wire.Receipts(request.n, accept.put(parts.store, request.specs))


def _take(parts: Parts, peer: Peer | None, request: wire.Take) -> Done:
    if peer is not None:
        parts.waiting.add(peer, request)
    return None


def _report(parts: Parts, peer: Peer | None, request: wire.Report) -> Done:
    claims.report(parts.store, request.job, request.epoch, request.number, request.events, request.checkpoint)
    return wire.Ok(request.n)


def _settle(parts: Parts, peer: Peer | None, request: wire.Settle) -> Done:
    return wire.Flags(request.n, claims.settle(parts.store, request.settlements))


def _abandon(parts: Parts, peer: Peer | None, request: wire.Abandon) -> Done:
    return wire.Number(request.n, claims.abandon(parts.store, request.worker, request.running))


def _get(parts: Parts, peer: Peer | None, request: wire.Get) -> Done:
    row = fetch(parts.store, request.job)
    return wire.Record(request.n, None if row is None else row.record())


def _find(parts: Parts, peer: Peer | None, request: wire.Find) -> Done:
    found = lookup.find(
        parts.store, request.states, request.queue, request.tag, request.function, request.after, request.most
    )
    return wire.Records(request.n, found)


def _cancel(parts: Parts, peer: Peer | None, request: wire.CancelJob) -> Done:
    return wire.State(request.n, lookup.cancel(parts.store, request.job))


def _retry(parts: Parts, peer: Peer | None, request: wire.RetryJob) -> Done:
    return wire.State(request.n, lookup.revive(parts.store, request.job))


def _purge(parts: Parts, peer: Peer | None, request: wire.Purge) -> Done:
    before = parts.store.now - request.older
    return wire.Number(request.n, lookup.purge(parts.store, request.states, request.queue, before, request.most))


def _stats(parts: Parts, peer: Peer | None, request: wire.Stats) -> Done:
    return wire.Facts(request.n, lookup.stats(parts.store))


def _set_queue(parts: Parts, peer: Peer | None, request: wire.SetQueue) -> Done:
    return wire.Facts(request.n, queues.change(parts.store, request.queue, request.rules))


def _queues(parts: Parts, peer: Peer | None, request: wire.Queues) -> Done:
    return wire.Facts(request.n, queues.shown(parts.store))


def _set_crons(parts: Parts, peer: Peer | None, request: wire.SetCrons) -> Done:
    crons.replace(parts.store, request.owner, request.crons)
    return wire.Ok(request.n)


def _crons(parts: Parts, peer: Peer | None, request: wire.Crons) -> Done:
    return wire.CronList(request.n, crons.listed(parts.store))


def _append(parts: Parts, peer: Peer | None, request: wire.Append) -> Done:
    return wire.Number(request.n, streams.append(parts.store, request.stream, request.events, request.token))


def _write(parts: Parts, peer: Peer | None, request: wire.WriteTo) -> Done:
    return wire.Wrote(request.n, streams.write(parts.store, request.stream, request.write, request.token))


def _create(parts: Parts, peer: Peer | None, request: wire.Create) -> Done:
    made = streams.create(parts.store, request.stream, request.spec, request.write)
    return wire.Seen(request.n, *made)


def _look(parts: Parts, peer: Peer | None, request: wire.Look) -> Done:
    return wire.Seen(request.n, streams.info(parts.store, request.stream, request.touch))


def _delete(parts: Parts, peer: Peer | None, request: wire.Delete) -> Done:
    streams.delete(parts.store, request.stream)
    return wire.Ok(request.n)


def _read(parts: Parts, peer: Peer | None, request: wire.Read) -> Done:
    return wire.Page(request.n, streams.read(parts.store, request.stream, request.after, request.most))


def _follow(parts: Parts, peer: Peer | None, request: wire.Follow) -> Done:
    if peer is None:
        return None
    batch, whole = streams.page(parts.store, request.stream, request.after, wire.WINDOW)
    subscription = Subscription(peer, request.n, request.stream, max(request.after, 0))

    def start() -> None:
        peer.send(wire.Ok(request.n))
        parts.subscriptions.add(subscription)
        parts.subscriptions.feed(subscription, batch, whole)

    return start


def _catch_up(parts: Parts, peer: Peer | None, request: CatchUp) -> Done:
    subscription = request.subscription
    asked = min(subscription.credit, wire.WINDOW)
    try:
        batch, whole = streams.page(parts.store, subscription.stream, subscription.at, asked)
    except StreamError as exc:
        gone = Event(subscription.at + 1, "gone", {"reason": str(exc)}, parts.store.now, terminal=True)
        batch, whole = Batch([gone], gone.offset, ended=True), True
    return lambda: parts.subscriptions.feed(subscription, batch, whole)


def _tick(parts: Parts, peer: Peer | None, request: Tick) -> Done:
    parts.store.changes.again = upkeep.turn(parts.store)
    # A rate or a lasting failure may have kept claims back without anything in the tables changing.
    parts.store.changes.ready = True
    return None


def _status(parts: Parts, peer: Peer | None, request: wire.Status) -> Done:
    facts = {
        "path": parts.store.path,
        "jobs": lookup.stats(parts.store),
        "queues": queues.shown(parts.store),
        "waiting_workers": len(parts.waiting),
        "subscriptions": len(parts.subscriptions),
        "leases": len(parts.store.leases),
    }
    return wire.Facts(request.n, facts)


_TABLE: Final[dict[type, Callable[[Parts, Peer | None, Any], Done]]] = {
    wire.Hello: _hello,
    wire.Put: _put,
    wire.Take: _take,
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
    wire.Append: _append,
    wire.WriteTo: _write,
    wire.Create: _create,
    wire.Look: _look,
    wire.Delete: _delete,
    wire.Read: _read,
    wire.Follow: _follow,
    wire.Status: _status,
    Tick: _tick,
    CatchUp: _catch_up,
}
