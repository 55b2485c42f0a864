"""A WSGI app with all that runs its handlers: threads, and the loops of its loop sockets."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headgate.apps import flask_sock
from headgate.apps.contexts import Contexts, FlaskContexts, PlainContexts, is_flask
from headgate.apps.dispatch import WsgiDispatcher
from headgate.apps.elastic import Elastic
from headgate.apps.environ import EnvironMaker
from headgate.apps.events import event_finder
from headgate.apps.exchange import Exchange
from headgate.apps.lane_check import LaneCheck
from headgate.apps.links import Threads
from headgate.apps.loader import Loaded
from headgate.apps.loop_runner import LoopRunner
from headgate.apps.loops import LoopPolicy
from headgate.apps.offload import Offloader, Sweeps, allowed
from headgate.apps.pace import Pace
from headgate.apps.plan import WorkerPlan
from headgate.apps.pool import HandlerPool
from headgate.apps.routes import FlaskRoutes, PlainRoutes, Routes
from headgate.apps.socketio.host import host_socketio
from headgate.apps.sockets import NativeSockets
from headgate.apps.turns import TurnGate
from headgate.apps.wsgi import WsgiRunner
from headgate.declare import registry
from headgate.link.messages import VERSION, Timed, WorkerHello


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
        self._elastic = Elastic(plan.slots, plan.most_slots, time.monotonic(), time.process_time())
        self.threads: Threads | None = (self._pool, Pace())
        self._gate = TurnGate(plan.loop_turns)
        self._timed: list[tuple[Exchange, Timed]] = []
        policy = LoopPolicy(
            self._gate, event_finder(plan.event_field), self._check.is_fast, self._turn, max(1, plan.inbox // 4)
        )
        self._loops = LoopRunner(app, environs, policy, plan.loop_threads)
        flask_sock.install()
        handlers = [handler for handler, _ in self.routes.rules if not handler.startswith("ws ")]
        self._offloader = Offloader(allowed(flask_app, plan.offload, handlers), Path(plan.bodies))
        self._sweeps = Sweeps(plan)
        self.dispatch = WsgiDispatcher(
            self.routes,
            self._check,
            WsgiRunner(app, environs),
            NativeSockets(registry.sockets, contexts),
            self._loops,
            self._offloader,
        )
        self.socketio = self.dispatch.socketio = host_socketio(app, flask_app, environs)
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
            socketio=self.socketio.described if self.socketio is not None else None,
        )

    @property
    def busy(self) -> int:
        """Handlers under way or about to be."""
        return self._pool.busy + self._pool.waiting + len(self._loops.connections)

    @property
    def slots(self) -> int:
        """Handlers that may run at once, at the moment."""
        return self._elastic.slots

    def drain(self) -> None:
        """Begin nothing new."""
        self.dispatch.draining = True

    def end(self) -> None:
        """End the loops."""
        self._loops.stop()

    async def start(self) -> None:
        """A WSGI app needs no start-up."""

    async def stop(self, seconds: float) -> None:
        """Let the handler threads end; the ones that run something are daemons and do not hold up the process."""
        self._pool.close(timeout=min(seconds, 0.1))

    def tick(self) -> None:
        """What is to be done now and then, on the loop."""
        self._gate.lend()
        if self._elastic.look(self._pool.busy + self._pool.waiting, time.monotonic(), time.process_time()):
            self._pool.resize(self._elastic.slots)
        timed, self._timed = self._timed, []
        for exchange, message in timed:
            exchange.link.send(message)
        if self._sweeps.due():
            self._pool.submit(self._offloader.sweep)

    def stats(self) -> Mapping[str, Any]:
        traffic = self.dispatch.traffic
        return {
            "threads": self._pool.threads,
            "busy": self._pool.busy,
            "waiting": self._pool.waiting,
            "slots": self._elastic.slots,
            "most_slots": self._elastic.most,
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


def _gate_app() -> Any:
    """The Flask app that a `Headgate` object was given, for an app that only wraps it."""
    return next((gate.app for gate in registry.gates if gate.app is not None), None)
