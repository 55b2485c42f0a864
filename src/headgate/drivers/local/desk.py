"""The desk: takes requests as they come, carries them out in batches of one transaction each, answers after the commit.

Everything that waits when a batch begins is in it, so a commit is shared by whoever came while the one before
was being written. Claims for waiting job workers are made in the same transaction as the put that they wait
for: one commit between `enqueue` and the job's first line.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, Final

from headgate.base.clock import Clock
from headgate.base.errors import HeadgateError, Unavailable
from headgate.base.model import CANCELS
from headgate.drivers.embedded import codec, wire
from headgate.drivers.embedded.wire import Message, Request
from headgate.drivers.local import claims, waits
from headgate.drivers.local.hearers import Hearers
from headgate.drivers.local.rates import Rates
from headgate.drivers.local.requests import CatchUp, Desked, Done, Parts, Tick, carry_out
from headgate.drivers.local.store import Store
from headgate.drivers.local.subscriptions import Peer, Subscription, Subscriptions
from headgate.drivers.local.waiting import Waiting

log = logging.getLogger(__name__)

TICK: Final = 1.0
"""Greatest time between two looks at what is due, in seconds: a stepped wall clock is noticed within it."""
SLOW_SYNC: Final = 0.002
"""Seconds for a commit, in the mean, from which on it is done in a thread. On a fast disk the hand-over to a thread
costs as much as the commit; on a slow one the loop must not stand still for it."""
BATCH: Final = 2_000
"""Requests in one transaction at most."""


class Desk:
    """One engine at work on one event loop.

    Args:
        store: its state.
        clock: for all waiting.
        writer: where slow commits run; None commits on the loop always.
        marks: what a dead job worker was running, None if nobody knows.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        writer: Executor | None = None,
        marks: Callable[[str], list[str] | None] = lambda worker: None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.rates = Rates(clock)
        self.waiting = Waiting()
        self.hearers = Hearers()
        self.subscriptions = Subscriptions(self._catch_up)
        self._parts = Parts(store, self.rates, self.waiting, self.subscriptions)
        self.batches = 0
        self.failing: str | None = None
        """Why the last transaction could not be written, if it could not."""
        self._writer = writer
        self._marks = marks
        self._sync_time = 0.0
        self._inbox: list[tuple[Peer | None, Desked]] = []
        self._wake = asyncio.Event()
        self._workers: dict[str, Peer] = {}
        self._armed = float("inf")
        self._tasks: set[asyncio.Task[None]] = set()
        self._turning: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self) -> None:
        """Begin to work; must be called on the loop."""
        self._turning = self._spawn(self._work())
        self._spawn(self._tick())

    async def stop(self) -> None:
        """Answer what has been asked, then stop."""
        # Only one task turns, ever: a second would begin its transaction inside one that is being committed.
        self._stopping = True
        self._wake.set()
        if self._turning is not None:
            await asyncio.gather(self._turning, return_exceptions=True)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def submit(self, peer: Peer, request: Request) -> None:
        """Take a request of a peer; the replies go to `peer.send`."""
        at_once = self._AT_ONCE.get(type(request))
        if at_once is not None:
            at_once(self, peer, request)
            return
        if isinstance(request, wire.Take):
            self._workers[request.worker] = peer
        self._enter(peer, request)

    def welcome(self, peer: Peer, hello: wire.Hello) -> None:
        """A new peer; claims of the worker that it names end with it."""
        if hello.worker is not None:
            self._workers[hello.worker] = peer
            self._enter(None, hello)
        peer.send(wire.Welcome(hello.n, wire.VERSION, self.store.limits.lease))

    def gone(self, peer: Peer) -> None:
        """The peer's connection ended: whatever its job workers held goes back, unless they have come back already."""
        self.subscriptions.forget(peer)
        self.hearers.forget(peer)
        self.waiting.forget(peer)
        for worker in [worker for worker, at in self._workers.items() if at is peer]:
            del self._workers[worker]
            self._enter(None, wire.Abandon(0, worker, self._marks(worker)))

    def worker_died(self, worker: str) -> None:
        """Somebody saw the job worker die: what it held goes back at once."""
        self._workers.pop(worker, None)
        self._enter(None, wire.Abandon(0, worker, self._marks(worker)))

    # ------------------------------------------------------------------ batches

    def _enter(self, peer: Peer | None, request: Desked) -> None:
        self._inbox.append((peer, request))
        self._wake.set()

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._inbox:
                await self._turn()
            if self._stopping:
                return

    async def _turn(self) -> None:
        batch, self._inbox = self._inbox[:BATCH], self._inbox[BATCH:]
        self.batches += 1
        try:
            await self._transaction(batch)
        except Exception as exc:
            self._recover(exc)
            for entry in batch:
                await self._alone(entry)

    async def _alone(self, entry: tuple[Peer | None, Desked]) -> None:
        # One request that cannot be written (a full disk) must not fail those that only read or shrink.
        try:
            await self._transaction([entry])
        except Exception as exc:
            self._recover(exc)
            peer, request = entry
            if isinstance(request, wire.Take):
                return  # it waits on, and is looked at again with every tick
            if peer is not None and isinstance(request, Message):
                peer.send(codec.failed(request.n, _undone(exc, self.store.path)))

    def _recover(self, exc: Exception) -> None:
        if not isinstance(exc, sqlite3.Error):
            log.error("a request made the broker fail; nothing of its batch was accepted", exc_info=exc)
            self.store.rollback()
            return
        reason = str(exc)
        if reason != self.failing:
            log.error("the broker cannot write to %s: %s; nothing of this batch was accepted", self.store.path, reason)
        self.failing = reason
        # In WAL mode a commit that failed has left nothing that the next one would not write over.
        try:
            self.store.rollback()
        except sqlite3.Error:
            self._reopen()

    def _reopen(self) -> None:
        # If that fails too the store stays closed; every request fails, and each tries again.
        try:
            self.store.reopen()
        except (sqlite3.Error, HeadgateError) as exc:
            log.error("the broker cannot open its store again: %s", exc)

    async def _transaction(self, batch: list[tuple[Peer | None, Desked]]) -> None:
        self.store.begin()
        before = self.store.db.total_changes
        replies = [(peer, self._carry_out(peer, request)) for peer, request in batch]
        waits.tell(self.store)
        granted = self.waiting.serve(self.store, self.rates)
        wrote = self.store.db.total_changes != before
        await self._commit(wrote)
        if wrote:
            self.failing = None
        changes = self.store.apply()
        self.waiting.granted(granted)
        for peer, done in replies:
            if callable(done):
                done()
            elif peer is not None and done is not None:
                peer.send(done)
        self.subscriptions.publish(changes.events)
        for job in changes.cancels:
            self.hearers.publish(CANCELS, job.encode())
        if changes.due is not None:
            self._arm(changes.due - self.clock.now())
        if changes.again:
            self._enter(None, Tick())

    async def _commit(self, wrote: bool) -> None:
        if not wrote:
            self.store.commit()
            return
        began = time.perf_counter()
        if self._writer is None or self._sync_time < SLOW_SYNC:
            self.store.commit()
        else:
            await asyncio.get_running_loop().run_in_executor(self._writer, self.store.commit)
        self._sync_time += 0.2 * (time.perf_counter() - began - self._sync_time)

    def _carry_out(self, peer: Peer | None, request: Desked) -> Done:
        try:
            return carry_out(self._parts, peer, request)
        except HeadgateError as exc:
            return codec.failed(request.n, exc) if isinstance(request, Message) else None

    # ------------------------------------------------------------------ time

    async def _tick(self) -> None:
        while True:
            self._enter(None, Tick())
            await self.clock.sleep(TICK)

    def _arm(self, delay: float) -> None:
        """Look at what is due in `delay` seconds, if that is before the next tick."""
        at = self.clock.monotonic() + max(0.0, delay)
        if delay < TICK and not self.clock.monotonic() < self._armed <= at + 1e-3:
            self._armed = at
            self._spawn(self._tick_at(max(0.001, delay), at))

    async def _tick_at(self, delay: float, at: float) -> None:
        await self.clock.sleep(delay)
        if self._armed == at:
            self._armed = float("inf")
        self._enter(None, Tick())

    def _catch_up(self, subscription: Subscription) -> None:
        self._enter(None, CatchUp(subscription))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.critical("the engine's desk failed", exc_info=task.exception())

    # ------------------------------------------------------------------ without a transaction

    def _publish(self, peer: Peer, request: wire.Publish) -> None:
        self.hearers.publish(request.channel, request.payload)
        peer.send(wire.Ok(request.n))

    def _want(self, peer: Peer, request: wire.Want) -> None:
        self.hearers.want(peer, request.channels, request.wanted)
        peer.send(wire.Ok(request.n))

    def _renew(self, peer: Peer, request: wire.Renew) -> None:
        self._workers[request.worker] = peer
        peer.send(wire.Verdicts(request.n, claims.renew(self.store, request.held)))

    _AT_ONCE: Final[dict[type, Callable[[Any, Peer, Any], None]]] = {
        wire.Hello: welcome,
        wire.Publish: _publish,
        wire.Want: _want,
        wire.Renew: _renew,
        wire.More: lambda desk, peer, request: desk.subscriptions.more(peer, request.n, request.count),
        wire.Unfollow: lambda desk, peer, request: desk.subscriptions.drop(peer, request.n),
        wire.Untake: lambda desk, peer, request: desk.waiting.untake(peer, request.take),
    }


def _undone(exc: Exception, path: str) -> HeadgateError:
    if not isinstance(exc, sqlite3.Error):
        return HeadgateError(
            f"the broker failed over this request ({exc!r}); nothing of it was done. Its log says more"
        )
    return Unavailable(
        f"the broker cannot write to {path}: {exc}. Nothing of this request was accepted; "
        "free space (or raise the limit) there, then try again"
    )
