"""An app worker: one process that runs an app's handlers for all gateways."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from headgate.apps import flask_sock
from headgate.apps.contexts import Contexts, FlaskContexts, PlainContexts, is_flask
from headgate.apps.dispatch import WsgiDispatcher
from headgate.apps.environ import EnvironMaker
from headgate.apps.events import event_finder
from headgate.apps.exchange import Exchange
from headgate.apps.lane_check import LaneCheck
from headgate.apps.links import Links
from headgate.apps.loader import Loaded, load
from headgate.apps.loop_runner import LoopRunner
from headgate.apps.loops import LoopPolicy
from headgate.apps.pace import Pace
from headgate.apps.pool import HandlerPool
from headgate.apps.routes import FlaskRoutes, PlainRoutes, Routes
from headgate.apps.sockets import NativeSockets
from headgate.apps.turns import TurnGate
from headgate.apps.wsgi import WsgiRunner
from headgate.base.ports import StopSignal
from headgate.declare import registry
from headgate.link.messages import VERSION, Draining, Timed, WorkerHello

log = logging.getLogger("headgate.app")

SWITCH_INTERVAL: Final = 0.001
"""Seconds that a thread keeps the interpreter while others want it. The default of 5 ms is what a light handler
would wait behind each computing one; much less costs more switches than it saves."""
TIMED_EVERY: Final = 0.1
"""Seconds between two reports of turns' times; they only teach the lanes."""
DRAIN_STEP: Final = 0.05


class WorkerPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What an app worker is to be; the settings of the same names say more."""

    app: str
    name: str
    lane: str
    generation: int
    links: list[str]
    slots: int
    lanes: bool = True
    loop_threads: int = 1000
    loop_turns: int = 2
    inbox: int = 64
    event_field: tuple[str, ...] = ("type", "event", "action")


class Host(Protocol):
    """What runs handlers, by the app's interface."""

    @property
    def busy(self) -> int:
        """Handlers under way or about to be."""

    def stats(self) -> Mapping[str, Any]:
        """What `headgate status` shows."""

    def tick(self) -> None:
        """What is to be done now and then, on the loop."""

    def drain(self) -> None:
        """Begin nothing new."""

    def end(self) -> None:
        """The deadline is over: end what holds connections."""


class AppWorker:
    """The service of the app role.

    Args:
        plan: what to be.
        bind_engine: connects this process's declarations with the engine, before the app is imported.
        report: takes what `headgate status` shows, about once a second.
    """

    def __init__(
        self,
        plan: WorkerPlan,
        bind_engine: Callable[[], None] = lambda: None,
        report: Callable[[Mapping[str, Any]], None] = lambda _stats: None,
    ) -> None:
        self._plan = plan
        self._bind_engine = bind_engine
        self._report = report

    async def run(self, ready: Callable[[], None], stop: StopSignal) -> None:
        """Load the app, link with the gateways, serve until `stop`, finish.

        Raises:
            ConfigError: the app cannot be found.
            Exception: what the app raises while it is loaded.
        """
        self._bind_engine()
        loaded = load(self._plan.app)
        gc.collect()
        gc.freeze()  # the app's modules stay for ever; collections need not look at them again
        sys.setswitchinterval(SWITCH_INTERVAL)
        host = WsgiHost(loaded, self._plan)
        links = Links(self._plan.links, host.hello, host.dispatch, host.threads)
        await links.start()
        beat = asyncio.create_task(self._beat(host))
        ready()
        try:
            seconds = await stop.wait()
            await self._drain(host, links, seconds)
        finally:
            beat.cancel()
            await links.close()

    async def _beat(self, host: Host) -> None:
        at = 0.0
        while True:
            await asyncio.sleep(TIMED_EVERY)
            host.tick()
            if (now := time.monotonic()) - at >= 1.0:
                at = now
                self._report(host.stats())

    async def _drain(self, host: Host, links: Links, seconds: float) -> None:
        """Tell the gateways, let what runs end, then end the loops; returns before the deadline."""
        until = time.monotonic() + seconds
        host.drain()
        links.send_all(Draining())
        last_words = min(1.0, seconds / 4)
        await _idle(host, until - last_words)
        host.end()
        await _idle(host, until)
        if host.busy:
            log.warning("%d handlers have not ended by the deadline and are given up", host.busy)


class WsgiHost:
    """A WSGI app with all that runs its handlers.

    Args:
        loaded: the app.
        plan: of the worker.
    """

    def __init__(self, loaded: Loaded, plan: WorkerPlan) -> None:
        self.app = app = loaded.app
        flask_app = app if is_flask(app) else _gate_app()
        environs = EnvironMaker()
        contexts: Contexts = PlainContexts() if flask_app is None else FlaskContexts(flask_app, environs)
        self.routes: Routes = PlainRoutes(list(registry.sockets)) if flask_app is None else FlaskRoutes(flask_app)
        self._check = LaneCheck(plan.lane, plan.lanes)
        self._pool = HandlerPool(plan.slots)
        self.threads = (self._pool, Pace())
        self._gate = TurnGate(plan.loop_turns)
        self._timed: list[tuple[Exchange, Timed]] = []
        policy = LoopPolicy(
            self._gate, event_finder(plan.event_field), self._check.is_fast, self._turn, max(1, plan.inbox // 4)
        )
        self._loops = LoopRunner(app, environs, policy, plan.loop_threads)
        flask_sock.install()
        self.dispatch = WsgiDispatcher(
            self.routes,
            self._check,
            WsgiRunner(app, environs),
            NativeSockets(registry.sockets, contexts),
            self._loops,
        )
        self.hello = WorkerHello(
            version=VERSION,
            worker=plan.name,
            pid=os.getpid(),
            lane=plan.lane,
            generation=plan.generation,
            slots=plan.slots,
            app="wsgi",
            rules=self.routes.rules,
            pinned=self._pinned(),
            functions=sorted(registry.jobs),
        )

    @property
    def busy(self) -> int:
        """Handlers under way or about to be."""
        return self._pool.busy + self._pool.waiting + len(self._loops.connections)

    def drain(self) -> None:
        """Begin nothing new."""
        self.dispatch.draining = True

    def end(self) -> None:
        """End the loops."""
        self._loops.stop()

    def close(self) -> None:
        """Let the handler threads end; the ones that run something are daemons and do not hold up the process."""
        self._pool.close(timeout=1.0)

    def tick(self) -> None:
        """What is to be done now and then, on the loop."""
        self._gate.lend()
        timed, self._timed = self._timed, []
        for exchange, message in timed:
            exchange.link.send(message)

    def stats(self) -> Mapping[str, Any]:
        traffic = self.dispatch.traffic
        return {
            "threads": self._pool.threads,
            "busy": self._pool.busy,
            "waiting": self._pool.waiting,
            "loops": len(self._loops.connections),
            "turns_waiting": self._gate.waiting,
            "requests": traffic.requests,
            "messages": traffic.messages,
            "handshakes": traffic.handshakes,
            "bounced": traffic.bounced,
        }

    def _turn(self, exchange: Exchange, handler: str, run: float) -> None:
        self._timed.append((exchange, Timed(handler, run)))

    def _pinned(self) -> dict[str, str]:
        """Loops belong into the slow lane: their turns are not known beforehand."""
        loops = {handler: "slow" for handler, rule in self.routes.rules if handler.startswith("ws ")}
        return {handler: lane for handler, lane in loops.items() if handler.removeprefix("ws ") not in registry.sockets}


async def _idle(host: Host, until: float) -> None:
    """Wait until nothing runs; by looking, because handlers end on threads that would each have to tell."""
    while host.busy and time.monotonic() < until:  # noqa: ASYNC110
        await asyncio.sleep(DRAIN_STEP)


def _gate_app() -> Any:
    """The Flask app that a `Headgate` object was given, for an app that only wraps it."""
    return next((gate.app for gate in registry.gates if gate.app is not None), None)
