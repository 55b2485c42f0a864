"""An ASGI app with all that runs its handlers: tasks on the worker's loop; native sockets on threads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, Final

from headgate.apps.asgi import HttpCall, WebSocketCall
from headgate.apps.asgi_stream import AsgiStream
from headgate.apps.contexts import PlainContexts
from headgate.apps.dispatch import Traffic, host_of, path_of
from headgate.apps.lane_check import LaneCheck
from headgate.apps.lifespan import Lifespan
from headgate.apps.links import Link, Threads
from headgate.apps.loader import Loaded
from headgate.apps.offload import Offloader, Sweeps, allowed
from headgate.apps.plan import WorkerPlan
from headgate.apps.pool import HandlerPool
from headgate.apps.routes import FlaskRoutes, PlainRoutes, Routes
from headgate.apps.socketio.host import Socketio
from headgate.apps.sockets import NativeSockets
from headgate.apps.starlette_routes import StarletteRoutes
from headgate.declare import registry
from headgate.link.messages import VERSION, Bounce, Known, Message, Open, Reject, Request, WorkerHello

TASKS_PER_SLOT: Final = 16
"""Handlers that run at once for each thread that a WSGI app would have: a task that waits costs little."""
_BUSY: Final = [(b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"5")]


class AsgiHost:
    """Runs an ASGI app.

    Args:
        loaded: the app.
        plan: of the worker.
    """

    threads: Threads | None = None
    socketio: Socketio | None = None
    """Links are read on the loop, where the handlers are."""

    def __init__(self, loaded: Loaded, plan: WorkerPlan) -> None:
        self.app = loaded.app
        self.traffic = Traffic()
        self.routes = routes_of(loaded.app, list(registry.sockets))
        self._plan = plan
        self._check = LaneCheck(plan.lane, plan.lanes)
        self._pool = HandlerPool(plan.slots)
        handlers = [handler for handler, _ in self.routes.rules if not handler.startswith("ws ")]
        self._offloader = Offloader(allowed(loaded.app, plan.offload, handlers), Path(plan.bodies))
        self._sweeps = Sweeps(plan)
        self._native = NativeSockets(registry.sockets, PlainContexts())
        self._lifespan = Lifespan(loaded.app)
        self._tasks: set[asyncio.Task[None]] = set()
        self._sockets: set[WebSocketCall] = set()
        self._draining = False
        self.hello = WorkerHello(
            version=VERSION,
            worker=plan.name,
            pid=os.getpid(),
            lane=plan.lane,
            generation=plan.generation,
            slots=plan.slots * TASKS_PER_SLOT,
            app="asgi",
            rules=self.routes.rules,
            pinned={handler: "slow" for handler, rule in self.routes.rules if self._is_loop(handler, rule)},
            functions=sorted(registry.jobs),
        )

    async def start(self) -> None:
        """Run the app's start-up. Raises `StartupFailed`."""
        await self._lifespan.start()

    async def stop(self, seconds: float) -> None:
        """Run its shutdown."""
        await self._lifespan.stop(seconds)
        self._pool.close(timeout=0.1)

    def dispatch(self, link: Link, message: Request | Open | Message | Known) -> None:
        """Begin what came on a link."""
        if isinstance(message, Known):
            self._check.learn(message.lanes)
        elif isinstance(message, Request):
            self._request(link, message)
        elif isinstance(message, Open):
            self._open(link, message)
        else:
            self._message(link, message)

    @property
    def busy(self) -> int:
        return len(self._tasks) + self._pool.busy + self._pool.waiting

    @property
    def slots(self) -> int:
        return self.hello.slots

    def drain(self) -> None:
        self._draining = True

    def end(self) -> None:
        """End the WebSockets."""
        for call in list(self._sockets):
            call.stop()

    def tick(self) -> None:
        """What is to be done now and then, on the loop."""
        if self._sweeps.due():
            self._pool.submit(self._offloader.sweep)

    def stats(self) -> Mapping[str, Any]:
        return {
            "tasks": len(self._tasks),
            "loops": len(self._sockets),
            "threads": self._pool.threads,
            "requests": self.traffic.requests,
            "messages": self.traffic.messages,
            "handshakes": self.traffic.handshakes,
            "bounced": self.traffic.bounced,
        }

    def _request(self, link: Link, message: Request) -> None:
        scope = message.scope
        view = self.routes.request(scope.method, path_of(scope), host_of(scope)).handler
        wish = self._offloader.wish(view, scope.headers)
        handler = view if wish is None else f"{view} {wish.label}"
        if self._refused(link, message, handler):
            return
        self.traffic.requests += 1
        if wish is not None:  # accepting it waits for the disk, which the loop must not
            self._pool.submit(self._offloader.run, link.opened(message.stream, handler), message, view, wish)
            return
        stream = AsgiStream(link, message.stream, handler)
        link.streams[message.stream] = stream
        self._begin(HttpCall(stream, message).run(self.app, self._lifespan.state))

    def _open(self, link: Link, message: Open) -> None:
        match = self.routes.websocket(path_of(message.scope), host_of(message.scope))
        if self._refused(link, message, match.handler):
            return
        self.traffic.handshakes += 1
        if self._native.serves(match):
            self._pool.submit(self._native.open, link.opened(message.stream, match.handler), message, match)
            return
        if len(self._sockets) >= self._plan.loop_threads:
            link.send(Reject(message.stream, 503, _BUSY, b"Too many sockets here; try again later.\n", match.handler))
            return
        stream = AsgiStream(link, message.stream, match.handler)
        call = WebSocketCall(stream, message, max(1, self._plan.inbox // 4))
        link.streams[message.stream] = stream
        link.feeds(message.stream, call)
        self._sockets.add(call)
        task = self._begin(call.run(self.app, self._lifespan.state))
        task.add_done_callback(lambda _task: self._sockets.discard(call))

    def _message(self, link: Link, message: Message) -> None:
        if self._refused(link, message, message.handler):
            return
        self.traffic.messages += 1
        match = self.routes.websocket(path_of(message.scope), host_of(message.scope))
        self._pool.submit(self._native.message, link.opened(message.stream, message.handler), message, match)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _refused(self, link: Link, message: Request | Open | Message, handler: str) -> bool:
        if not self._draining and self._check.may_run(handler, message.handler):
            return False
        self.traffic.bounced += 1
        link.send(Bounce(message.stream, handler))
        return True

    def _is_loop(self, handler: str, rule: str) -> bool:
        return handler.startswith("ws ") and rule not in registry.sockets


def routes_of(app: Any, sockets: list[str]) -> Routes:
    """The routes that an app shows: Quart's are a Werkzeug map, Starlette's a list; others show none."""
    if hasattr(app, "url_map") and hasattr(app, "config"):
        return FlaskRoutes(app, sockets)
    if isinstance(getattr(app, "routes", None), list):
        return StarletteRoutes(app, sockets)
    return PlainRoutes(sockets)
