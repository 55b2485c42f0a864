"""The gateway's side of all links: which app worker runs what, and what comes back from it.

The lanes decide (`lanes.Board`, pure); this shell keeps the links, gives each started work its stream and passes
the frames that come back. A link that breaks ends exactly the streams on it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from headgate.base.errors import Full
from headgate.gateway.lanes import LANES, Board, Bounds, Seat, Work
from headgate.gateway.learner import FAST, SLOW, Learner
from headgate.gateway.rules import Rules
from headgate.link.messages import (
    VERSION,
    Bounce,
    Draining,
    Effect,
    Effects,
    GatewayHello,
    Known,
    Retired,
    Slots,
    Timed,
    ToGateway,
    ToWorker,
    WorkerHello,
)
from headgate.link.session import gateway_session
from headgate.link.socketio import SioEmit, SioOrder, SioQuery, SioServer
from headgate.link.transport import LinkTransport

log = logging.getLogger("headgate.gateway")

MOST_BOUNCES = 4
"""A work that is handed back more often than this is given up: the workers disagree with the gateway."""


class Stream(Protocol):
    """What the frames of one stream go to."""

    def take(self, message: Any) -> None: ...

    def lost(self) -> None:
        """The app worker died, or the link to it broke."""


class Task(Work):
    """Work that goes over a link. Every start ends in exactly one of `take` of a last frame, or `lost`."""

    __slots__ = ("bounces", "link", "stream")

    def __init__(self, handler: str) -> None:
        super().__init__(handler)
        self.link: WorkerLink | None = None
        self.stream = 0
        self.bounces = 0

    def begin(self, send: Callable[[ToWorker], None]) -> None:
        """It has a slot: send what the app worker needs, on stream `self.stream`."""
        raise NotImplementedError

    def take(self, message: Any) -> None:
        raise NotImplementedError

    def lost(self) -> None:
        raise NotImplementedError

    def expired(self) -> None:
        """It has waited for a slot as long as its lane allows."""
        raise NotImplementedError

    @property
    def abandoned(self) -> bool:
        """Nobody waits for it any more: it is not begun a second time."""
        return False


class WorkerLink(Seat):
    """One app worker: its seat in the lanes, its link, and the streams on it."""

    __slots__ = ("hello", "streams", "transport")

    def __init__(self, hello: WorkerHello, transport: LinkTransport[ToGateway, ToWorker]) -> None:
        super().__init__(hello.worker, hello.lane if hello.lane in LANES else SLOW, hello.slots)
        self.hello = hello
        self.transport = transport
        self.streams: dict[int, Stream] = {}


class Exchange:
    """All app workers of one gateway.

    Args:
        bounds: of the waiting rooms, by lane.
        learner: the lanes of the handlers.
        lanes: False treats all app workers as one pool.
        index: which gateway this is.
        spool: the folder of body files.
        now: a monotonic clock, seconds.
    """

    def __init__(
        self,
        bounds: dict[str, Bounds],
        learner: Learner,
        *,
        lanes: bool = True,
        index: int = 0,
        spool: str = "",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.now = now
        self.learner = learner
        self.board = Board(learner, bounds, lanes=lanes)
        self.rules = Rules()
        self.links: dict[str, WorkerLink] = {}
        self.on_effects: Callable[[str, Sequence[Effect]], None] = lambda _connection, _effects: None
        self.on_socketio: Callable[[WorkerLink, SioEmit | SioOrder | SioQuery], None] = lambda _link, _message: None
        self.on_socketio_server: Callable[[SioServer], None] = lambda _server: None
        self.bounced = self.lost = self.expired = 0
        self.limited: Counter[str] = Counter()
        """How often each bound of the waiting rooms was reached, by its setting."""
        self._lanes = lanes
        self._hello = GatewayHello(VERSION, index, os.getpid(), spool)
        self._streams = itertools.count(1)
        self._server: asyncio.Server | None = None
        self._ticker: asyncio.TimerHandle | None = None

    async def listen(self, sock: socket.socket) -> None:
        """Take links on a listening Unix socket."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._arrival, sock=sock)
        self._tick()

    async def close(self) -> None:
        """End all links; what runs on them is lost."""
        if self._ticker is not None:
            self._ticker.cancel()
        if self._server is not None:
            self._server.close()
        for link in list(self.links.values()):
            link.transport.close()
        await asyncio.sleep(0)

    def ready(self) -> bool:
        """Whether every lane has an app worker that takes work."""
        return all(self.board.has(lane) for lane in (LANES if self._lanes else (FAST,)))

    # work

    def submit(self, task: Task) -> None:
        """Start it, or let it wait. Raises `Full`."""
        try:
            at_once = self.board.submit(task, self.now())
        except Full:
            self.limited["queue_length"] += 1
            raise
        if at_once:
            self._begin(task)

    def cancel(self, task: Task) -> bool:
        """Take it out of the waiting room; False when it has been started."""
        return self.board.cancel(task)

    def end(self, task: Task, handler: str, run: float, *, whole: bool = True) -> None:
        """The task's last frame came: its slot is free, and its run time teaches the lanes.

        Args:
            run: seconds that the handler ran.
            whole: it ran to its end; a run that was cut short says something only if it was long all the same.
        """
        link = task.link
        if link is not None:
            link.streams.pop(task.stream, None)
        following = self.board.finish(task)
        if following is not None:
            self._begin(following)
        if (whole or run > self.learner.limit) and self.learner.learn(handler or task.handler, run):
            self.relane(handler or task.handler)

    def release(self, task: Task, stream: Stream) -> None:
        """The task's slot is free, but its stream stays open for another (a loop socket)."""
        if task.link is not None:
            task.link.streams[task.stream] = stream
        following = self.board.finish(task)
        if following is not None:
            self._begin(following)

    def relane(self, handler: str) -> None:
        """A handler changed lanes: app workers are told, waiting work moves."""
        if not self._lanes:  # all workers run everything: to tell them otherwise would make them hand it back
            return
        fast = self.learner.lane(handler) == FAST
        profile = self.learner.profiles().get(handler)
        log.info("handler %s: now %s (%s)", handler, FAST if fast else SLOW, profile.why if profile else "")
        for link in self.links.values():
            if not link.draining:  # it may be gone, and a write to it would cost what it said last
                link.transport.send(Known({handler: fast}))
        for work in self.board.relane():
            self._begin(work)

    # the links

    def _arrival(self) -> LinkTransport[ToGateway, ToWorker]:
        return LinkTransport(gateway_session(), self._first, self._gone)

    def _first(self, transport: LinkTransport[ToGateway, ToWorker], message: ToGateway) -> None:
        assert isinstance(message, WorkerHello)  # the session lets nothing else be the first
        link = WorkerLink(message, transport)
        self.links[link.name] = link
        transport.hear(lambda _, message: self._message(link, message))
        transport.send(self._hello)
        self.learner.pin(message.pinned)
        if message.rules and tuple(map(tuple, message.rules)) != self.rules.source:
            self.rules = Rules(message.rules)
        if message.socketio is not None:
            self.on_socketio_server(message.socketio)
        transport.send(Known(self.learner.known()))
        log.info("app worker %s linked: %s lane, %d slots", link.name, link.lane, link.slots)
        for work in self.board.sit(link):
            self._begin(work)

    def _gone(self, transport: LinkTransport[ToGateway, ToWorker], reason: BaseException | None) -> None:
        link = next((one for one in self.links.values() if one.transport is transport), None)
        if link is None:
            if reason is not None:
                log.warning("a link ended before its hello: %s", reason)
            return
        del self.links[link.name]
        self.board.leave(link)
        streams, link.streams = link.streams, {}
        if streams or reason is not None:
            self.lost += len(streams)
            log.warning(
                "app worker %s is gone with %d streams under way: %s", link.name, len(streams), reason or "closed"
            )
        for stream in streams.values():
            if isinstance(stream, Task):
                stream.seat = None
            try:
                stream.lost()
            except Exception:  # the others on this link must hear of it all the same
                log.exception("a stream of %s could not be ended", link.name)

    def _message(self, link: WorkerLink, message: ToGateway) -> None:
        match message:
            case Bounce():
                self._bounced(link, message)
            case Effects():
                self.on_effects(message.connection, message.effects)
            case SioEmit() | SioOrder() | SioQuery():
                self.on_socketio(link, message)
            case Timed():
                if self.learner.learn(message.handler, message.run):
                    self.relane(message.handler)
            case Slots():
                for work in self.board.resize(link, message.slots):
                    self._begin(work)
            case Draining():
                link.draining = True
                link.transport.send(Retired())
            case WorkerHello():
                log.warning("app worker %s said hello twice", link.name)
            case _:
                stream = link.streams.get(message.stream)
                if stream is not None:
                    _safely(link, stream.take, message)

    def _bounced(self, link: WorkerLink, message: Bounce) -> None:
        task = link.streams.pop(message.stream, None)
        if not isinstance(task, Task):
            return
        self.bounced += 1
        task.bounces += 1
        if task.abandoned or task.bounces > MOST_BOUNCES:
            following = self.board.finish(task)
            if not task.abandoned:
                task.lost()
            if following is not None:
                self._begin(following)
            return
        if link.draining:
            lane = task.lane
        else:
            lane = SLOW
            task.handler = message.handler or task.handler
            if not self._lanes:  # there is no other lane: this one has to run it
                link.transport.send(Known({task.handler: True}))
        for work in self.board.bounce(task, lane):
            self._begin(work)

    def _begin(self, work: Work) -> None:
        assert isinstance(work, Task)
        link = work.seat
        assert isinstance(link, WorkerLink)
        work.link = link
        work.started = self.now()
        work.stream = stream = next(self._streams)
        link.streams[stream] = work
        work.begin(link.transport.send)

    def _tick(self) -> None:
        self._ticker = asyncio.get_running_loop().call_later(0.2, self._tick)
        for work in self.board.expired(self.now()):
            assert isinstance(work, Task)
            self.expired += 1
            self.limited["queue_age" if work.lane == FAST else "slow_queue_age"] += 1
            _safely(None, work.expired)


def _safely(link: WorkerLink | None, step: Callable[..., object], *args: Any) -> None:
    """One stream's step: what goes wrong in it must not cost the link, and with it every other stream of the worker."""
    try:
        step(*args)
    except Exception:
        log.exception("a step of a stream%s failed", f" of {link.name}" if link is not None else "")
