"""An app worker: one process that runs an app's handlers for all gateways."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from headgate.apps.asgi_host import AsgiHost
from headgate.apps.links import Link, Links, Threads
from headgate.apps.loader import load
from headgate.apps.plan import WorkerPlan
from headgate.apps.socketio.host import Socketio
from headgate.apps.wsgi_host import WsgiHost
from headgate.base.ports import StopSignal
from headgate.link.messages import WorkerHello

log = logging.getLogger("headgate.app")

SWITCH_INTERVAL: Final = 0.001
"""Seconds that a thread keeps the interpreter while others want it. The default of 5 ms is what a light handler
would wait behind each computing one; much less costs more switches than it saves."""
TIMED_EVERY: Final = 0.1
"""Seconds between two reports of turns' times; they only teach the lanes."""
DRAIN_STEP: Final = 0.05


class Host(Protocol):
    """What runs handlers, by the app's interface."""

    hello: WorkerHello
    threads: Threads | None
    """What reads links and runs handlers, unless that is the loop."""

    socketio: Socketio | None
    """The app's Socket.IO server, if it has one."""

    def dispatch(self, link: Link, message: Any) -> None:
        """Begin what came on a link."""

    async def start(self) -> None:
        """Before anything is begun. What it raises is a boot failure."""

    async def stop(self, seconds: float) -> None:
        """After everything has ended, for at most so long."""

    @property
    def busy(self) -> int:
        """Handlers under way or about to be."""

    @property
    def slots(self) -> int:
        """Handlers that may run at once; changes with time."""

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
        self._links: Links | None = None

    def dial(self, paths: list[str]) -> None:
        """The gateways are these from now on: those that went are dialled no more (on the loop)."""
        if self._links is not None:
            self._links.set_paths(paths)

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
        host: Host = (WsgiHost if loaded.interface == "wsgi" else AsgiHost)(loaded, self._plan)
        await host.start()
        self._links = links = Links(self._plan.links, host.hello, host.dispatch, host.threads)
        if host.socketio is not None:
            host.socketio.outlet.attach(lambda: links.live)
        await links.start()
        beat = asyncio.create_task(self._beat(host, links))
        ready()
        try:
            seconds = await stop.wait()
            await self._drain(host, links, seconds)
        finally:
            beat.cancel()
            await links.close()

    async def _beat(self, host: Host, links: Links) -> None:
        at = 0.0
        while True:
            await asyncio.sleep(TIMED_EVERY)
            host.tick()
            links.resize(host.slots)
            if (now := time.monotonic()) - at >= 1.0:
                at = now
                self._report(host.stats())

    async def _drain(self, host: Host, links: Links, seconds: float) -> None:
        """Tell the gateways, let what runs end, then end the loops; returns before the deadline."""
        until = time.monotonic() + seconds
        host.drain()
        links.leave()
        last_words = min(1.0, seconds / 4)
        await _idle(lambda: host.busy or not links.parted, until - last_words)
        host.end()
        await _idle(lambda: host.busy, until - last_words / 2)
        if host.busy:
            log.warning("%d handlers have not ended by the deadline and are given up", host.busy)
        await host.stop(max(0.1, until - time.monotonic()))


async def _idle(busy: Callable[[], object], until: float) -> None:
    """Wait until nothing runs; by looking, because handlers end on threads that would each have to tell."""
    while busy() and time.monotonic() < until:  # noqa: ASYNC110
        await asyncio.sleep(DRAIN_STEP)
