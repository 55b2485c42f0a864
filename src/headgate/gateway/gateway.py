"""One gateway: its parts joined, its life from the first listener to the last closed socket."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from headgate.base.errors import HeadgateError
from headgate.base.ports import Engine, StopSignal
from headgate.base.tokens import Tokens
from headgate.config.settings import Settings
from headgate.gateway.access import Account
from headgate.gateway.app import GatewayApp
from headgate.gateway.balance import Balance
from headgate.gateway.bodies import Pace, Spool
from headgate.gateway.channels import Channels
from headgate.gateway.deflate import Deflate
from headgate.gateway.door import entry_of
from headgate.gateway.exchange import Exchange
from headgate.gateway.follows import Follows
from headgate.gateway.heads import Trust
from headgate.gateway.judge import Limits
from headgate.gateway.lanes import Bounds
from headgate.gateway.learner import FAST, SLOW, Learner
from headgate.gateway.metrics import AdminListener, Metrics
from headgate.gateway.own import Own
from headgate.gateway.report import Report
from headgate.gateway.resume import Capabilities
from headgate.gateway.server import HttpServer
from headgate.gateway.socketio.front import Bounds as SocketioBounds
from headgate.gateway.socketio.front import SocketIO
from headgate.gateway.sockets import Sockets, Terms
from headgate.gateway.streams.access import Access
from headgate.gateway.streams.face import Face
from headgate.gateway.streams.reading import Reading
from headgate.gateway.streams.reading import Terms as Times
from headgate.gateway.web import Web
from headgate.link.socketio import CHANNEL
from headgate.watch.metrics import lines as watched

log = logging.getLogger("headgate.gateway")

SETTLE: Final = 2.0
"""Seconds for which a gateway that has a successor goes on serving who has just connected to it."""
ENGINE_PAUSE: Final = 0.25
"""Seconds between tries to reach the engine."""


class Gateway:
    """A gateway as a `Service`.

    Args:
        settings: of the installation.
        index: which gateway this is.
        listeners: public sockets, listening.
        link: the listening link socket.
        engine: not open yet; None for an installation without one.
        secret: signs job URLs.
        publish_stats: takes what `headgate status` shows, about once a second.
        takes_over: another gateway has this place still: nothing is accepted until `begin` is set.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        index: int,
        listeners: list[socket.socket],
        link: socket.socket,
        engine: Engine | None,
        secret: str,
        publish_stats: Callable[[Mapping[str, Any]], None] = lambda _: None,
        takes_over: bool = False,
    ) -> None:
        self.settings = settings
        self._listeners = listeners
        self._link = link
        self._engine = engine
        self._engine_open = False
        self._publish_stats = publish_stats
        self._stopping = False
        self._successor = False
        self._takes_over = takes_over
        self.begin = asyncio.Event()
        """Set by the supervisor when a gateway that takes over is to begin."""
        pace = Pace(settings.body_timeout, settings.body_rate)
        self.spool = Spool(
            settings.folder.spool.resolve(),
            f"g{index}",
            memory=settings.body_memory,
            most=settings.max_body,
            pace=pace,
        )
        self.exchange = _exchange(settings, index, str(self.spool.folder))
        self.web = Web(
            self.exchange,
            self.spool,
            Trust(settings.trusted_proxies),
            root_path=settings.root_path,
            request_timeout=settings.request_timeout,
        )
        self.channels = Channels(
            lambda: engine.channels.subscribe if self._engine_open and engine else None,
            lambda: engine.channels.publish if self._engine_open and engine else None,
        )
        self.follows = Follows(lambda: engine.streams if self._engine_open and engine else None)
        self.sockets = Sockets(_terms(settings), self.exchange, self.web, self.channels, self.follows)
        tokens = Tokens(secret)
        self.sockets.capabilities = Capabilities(tokens, settings.result_ttl)
        own = Own(lambda: engine if self._engine_open else None, self.unready, tokens)
        times = Times(settings.stream_poll, settings.stream_heartbeat, settings.stream_sse)
        self.streams = Face(
            lambda: engine if self._engine_open else None,
            Access(tokens, self.exchange, self.web),
            Reading(self.follows, times),
            self.web,
            pace=pace,
        )
        limits = Limits(settings.max_target, settings.max_head, settings.max_headers)
        entry = entry_of(settings)
        self.app = GatewayApp(self.web, self.sockets, own, settings.max_connections, limits, entry)
        self.server = HttpServer(
            self.app,
            keep_alive=settings.keepalive_timeout,
            head_timeout=settings.head_timeout,
            send_timeout=settings.send_timeout,
            door=not entry.plain,
        )
        self.socketio = SocketIO(
            self.exchange,
            self.web,
            index,
            settings.gateways,
            settings.folder.run,
            SocketioBounds(
                settings.outbox_bytes,
                settings.outbox_age,
                settings.inbox,
                settings.max_connections,
                settings.socketio_recovery,
                settings.socketio_slow_client == "drop",
                pace,
            ),
            root_path=settings.root_path,
            admit=self.sockets.admission_wait,
        )
        self.app.socketio = self.socketio
        self.app.streams = self.streams
        self.socketio.counted(self.app.count, self.app.depart)
        self.channels.listen(CHANNEL, self.socketio.hub.orders.heard)
        self.balance = Balance(settings.folder.run, index, settings.gateways, self.server.adopt)
        self.app.balance = self.balance
        self.report = Report(self.app, self.web, self.exchange, self.sockets, self.spool, self.unready)
        metrics = Metrics(self.report, lambda: watched(settings.folder.watch))
        account = Account(metrics, settings.access_log, settings.access_log_format)
        self.web.on_done, self.sockets.on_done, self.app.on_done = account, account.handshake, account.own
        self.web.on_refused = account.own
        self.admin = AdminListener(metrics, settings.folder.admin(index), _numbered(settings.metrics, index))

    async def run(self, ready: Callable[[], None], stop: StopSignal) -> None:
        """Serve until `stop`, then drain: not ready first, requests finished, sockets closed with 1012."""
        self.spool.prepare(alone=not self._takes_over)
        _calm_gc()
        await self.exchange.listen(self._link)
        if not self._takes_over:
            await self._open()
        tasks = [asyncio.create_task(one) for one in (self._reach_engine(), self.channels.run(), self._seconds())]
        if self.app.entry.certificates is not None:
            tasks.append(asyncio.create_task(self.app.entry.certificates.watch()))
        try:
            if self._takes_over:
                await self._could_serve()
            ready()
            stopped = asyncio.ensure_future(stop.wait())
            if self._takes_over:
                await self._take_over(stopped)
            await self._drain(await stopped)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.admin.close()
            await self.follows.close()
            await self.exchange.close()
            await self._leave_engine()

    def hand_on(self) -> None:
        """A newer gateway serves in this place: at the stop that follows, sockets move to it little by little."""
        self._successor = True

    async def _open(self) -> None:
        """Take connections."""
        await self.server.start(self._listeners)
        await self.admin.start()
        self.balance.start()
        await self.socketio.start()

    async def _could_serve(self) -> None:
        """Wait until nothing is missing but the word to begin."""
        while self.unready() is not None:  # noqa: ASYNC110 - links and engine come by many ways
            await asyncio.sleep(ENGINE_PAUSE / 5)

    async def _take_over(self, stopped: asyncio.Future[float]) -> None:
        """Take connections when the word comes, unless the stop comes before it."""
        begun = asyncio.ensure_future(self.begin.wait())
        waiting: list[asyncio.Future[Any]] = [begun, stopped]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if self.begin.is_set():
            await self._open()
        begun.cancel()

    def unready(self) -> str | None:
        """Why this gateway is not ready; None when it is."""
        if self._stopping:
            return "the gateway is about to stop"
        if not self.exchange.ready():
            return "no app worker is linked in every lane yet"
        if self._engine is not None and not self._engine_open:
            return "the broker does not answer yet"
        return None

    async def _drain(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        self._stopping = True
        self.balance.close()
        if self.exchange.links:  # otherwise nothing was ever served
            active, sockets = self.web.active, len(self.sockets.wires)
            log.info("stopping: %d requests and %d sockets have at most %.1f s to end", active, sockets, seconds)
        await asyncio.sleep(0.0 if self._successor else min(self.settings.unready_time, seconds / 2))
        budget = max(0.2, until - time.monotonic() - 0.5)
        self.streams.stop()
        if self._successor:
            settle = min(SETTLE, budget / 4)
            doors = self.server.stop(budget - settle, settle)
        else:
            doors = self._finish(budget)
        gradual = self._successor
        await asyncio.gather(doors, self.sockets.drain(budget, gradual=gradual), self.socketio.drain(budget))

    async def _finish(self, seconds: float) -> None:
        """Let requests end while the door is still open: who comes is told when to come again, and not left waiting."""
        until = time.monotonic() + max(0.1, seconds - 1.2)
        self.web.stopping = True
        while (self.web.active or self.sockets.wires) and time.monotonic() < until:  # noqa: ASYNC110 - many of both
            await asyncio.sleep(0.02)
        await self.server.stop(max(0.2, min(1.0, seconds)))

    async def _reach_engine(self) -> None:
        """Open the engine, for as long as that takes; its own connection heals after that."""
        if self._engine is None:
            return
        told = False
        while True:
            try:
                await self._engine.open()
            except HeadgateError as exc:
                if not told:
                    log.warning("the broker cannot be reached yet: %s", exc)
                told = True
                await asyncio.sleep(ENGINE_PAUSE)
            else:
                self._engine_open = True
                return

    async def _leave_engine(self) -> None:
        if self._engine is not None and self._engine_open:
            self._engine_open = False
            with contextlib.suppress(HeadgateError):
                await self._engine.close()

    async def _seconds(self) -> None:
        """What has to be looked at once a second."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1.0)
            try:
                self.balance.tell(self.app.connections)
                self.sockets.second()
                self.socketio.second()
                self.server.second(loop.time())
                self._publish_stats(self.report())
            except Exception:
                log.exception("the look around of this second failed")


def _exchange(settings: Settings, index: int, spool: str) -> Exchange:
    bounds = {
        FAST: Bounds(settings.queue_length, settings.queue_age),
        SLOW: Bounds(settings.queue_length, settings.slow_queue_age),
    }
    learner = Learner(settings.fast_ms / 1000, settings.lane)
    lanes = settings.lanes and settings.slow_workers > 0
    return Exchange(bounds, learner, lanes=lanes, index=index, spool=spool, now=time.monotonic)


def _terms(settings: Settings) -> Terms:
    return Terms(
        max_message=settings.max_message,
        inbox=settings.inbox,
        outbox_bytes=settings.outbox_bytes,
        outbox_age=settings.outbox_age,
        ping_interval=settings.ping_interval,
        ping_timeout=settings.ping_timeout,
        event_field=settings.event_field,
        origins=settings.origins,
        handshake_rate=settings.handshake_rate,
        message_rate=settings.message_rate,
        sockets_per_address=settings.sockets_per_address,
        sockets_per_key=settings.sockets_per_key,
        handshakes=settings.handshakes,
        deflate=Deflate(settings.deflate_window, settings.deflate_takeover) if settings.deflate else None,
    )


def _numbered(address: str, index: int) -> str:
    """`host:port` for one of several gateways: each has the next port."""
    host, colon, port = address.rpartition(":")
    return f"{host}:{int(port) + index}" if colon and port.isdigit() else ""


def _calm_gc() -> None:
    """Many long-lived objects make full collections long: what is there at start is left out, and they are rarer."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
