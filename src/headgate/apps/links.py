"""One link of this worker with the streams on it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from headgate.apps.exchange import Exchange
from headgate.apps.pace import Pace
from headgate.apps.pool import HandlerPool
from headgate.apps.wire import Wire, connect
from headgate.base.errors import Unavailable
from headgate.link.messages import Cancel, Closed, Credit, Draining, Feed, GatewayHello, Retired, Slots, WorkerHello
from headgate.link.session import worker_session

log = logging.getLogger("headgate.app")

_FIRST_WAIT, _LONGEST_WAIT = 0.05, 1.0


class Carried(Protocol):
    """A stream that is under way."""

    def credit(self, amount: int) -> None: ...

    def cancel(self) -> None: ...


class Fed(Protocol):
    """A stream that the client goes on talking on."""

    def feed(self, data: str | bytes) -> None: ...

    def closed(self, code: int, reason: str) -> None: ...


Threads = tuple[HandlerPool, Pace]


class Link:
    """A live link: a `Sender` for its exchanges, and where frames for running streams go.

    Args:
        dispatch: called with (link, message) for what begins something, one at a time.
        on_closed: called when it is gone.
        threads: what runs handlers on threads, if the app's interface wants them there.
    """

    def __init__(
        self,
        dispatch: Callable[[Link, Any], None],
        on_closed: Callable[[Link], None],
        threads: Threads | None = None,
    ) -> None:
        self.streams: dict[int, Carried] = {}
        self.fed: dict[int, Fed] = {}
        self.gateway: GatewayHello | None = None
        self.retired = False
        """The gateway has said that nothing more is begun on this link."""
        self._dispatch = dispatch
        self._on_closed = on_closed
        self._threads = threads
        self._wire: Wire | None = None
        self.send: Callable[[Any], None] = lambda _message: None

    async def dial(self, path: str, hello: WorkerHello) -> None:
        """Connect and greet. Raises `Unavailable`."""
        self._wire = await connect(path, worker_session(), self._take, self._lost, *(self._threads or ()))
        self.send = self._wire.send
        self.send(hello)

    @property
    def parted(self) -> bool:
        """Whether this link can be closed without a loss: nothing more comes, and all that was said is read.

        A gateway that has not said hello has begun nothing here: it may be gone, with its socket still listening.
        """
        return self.gateway is None or (self.retired and (self._wire is None or not self._wire.waiting))

    @property
    def backlog(self) -> int:
        """Frames that wait for the gateway to read."""
        return self._wire.backlog if self._wire is not None and not self._wire.closed else 0

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()

    def waits(self) -> None:
        """The calling thread is about to wait for what comes over a link: it must not be the one that reads."""
        if self._wire is not None:
            self._wire.waits()

    def submit(self, handler: str, function: Callable[..., None], *args: Any) -> None:
        """Run a handler on a thread; the first argument is its exchange."""
        assert self._wire is not None
        self._wire.submit(handler, function, *args)

    def opened(self, stream: int, handler: str) -> Exchange:
        """A new stream."""
        exchange = Exchange(self, stream, handler)
        self.streams[stream] = exchange
        return exchange

    def feeds(self, stream: int, fed: Fed) -> None:
        """What the client goes on saying on this stream is for `fed`."""
        self.fed[stream] = fed

    def finished(self, stream: int) -> bool:
        """The stream needs nothing more; False if it was finished before. From any thread."""
        self.fed.pop(stream, None)
        return self.streams.pop(stream, None) is not None

    def _take(self, _wire: Wire, message: Any) -> None:
        kind = type(message)
        if kind is Credit or kind is Cancel:
            exchange = self.streams.get(message.stream)
            if exchange is not None:
                exchange.credit(message.amount) if kind is Credit else exchange.cancel()
        elif kind is Feed or kind is Closed:
            fed = self.fed.get(message.stream)
            if fed is not None:
                fed.feed(message.data) if kind is Feed else fed.closed(message.code, message.reason)
        elif kind is GatewayHello:
            self.gateway = message
        elif kind is Retired:
            self.retired = True
        else:
            self._dispatch(self, message)

    def _lost(self, _wire: Wire, reason: BaseException | None) -> None:
        if reason is not None:
            log.warning("a link to a gateway broke: %s", reason)
        self.send = lambda _message: None
        for exchange in list(self.streams.values()):
            exchange.cancel()
        self.streams.clear()
        self.fed.clear()
        self._on_closed(self)


class Links:
    """All links of this worker, each dialled again whenever it is gone.

    Args:
        paths: of the gateways' link sockets.
        hello: what every gateway is told.
        dispatch, threads: as for `Link`.
    """

    def __init__(
        self,
        paths: list[str],
        hello: WorkerHello,
        dispatch: Callable[[Link, Any], None],
        threads: Threads | None = None,
    ) -> None:
        self._paths = paths
        self._hello = hello
        self._dispatch = dispatch
        self._threads = threads
        self._live: dict[str, Link] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._tried = asyncio.Event()
        self._to_try = set(paths)
        self._leaving = False

    @property
    def live(self) -> list[Link]:
        return list(self._live.values())

    async def start(self) -> None:
        """Begin to keep the links; returns when each has been dialled once."""
        self.set_paths(self._paths)
        if self._paths:
            await self._tried.wait()

    def set_paths(self, paths: list[str]) -> None:
        """Keep links to these: new ones are dialled; one that is not named any more is not dialled again."""
        if self._leaving:
            return
        for path in paths:
            if path not in self._keepers:
                self._keepers[path] = asyncio.create_task(self._keep(path))
        for path in [path for path in self._keepers if path not in paths]:
            if path not in self._live:
                self._keepers.pop(path).cancel()
        self._paths = paths

    async def close(self) -> None:
        for keeper in self._keepers.values():
            keeper.cancel()
        await asyncio.gather(*self._keepers.values(), return_exceptions=True)
        for link in self.live:
            link.close()

    def resize(self, slots: int) -> None:
        """Tell every gateway how many handlers may run here at once, if that has changed."""
        if slots != self._hello.slots:
            self._hello = msgspec.structs.replace(self._hello, slots=slots)
            for link in self.live:
                link.send(Slots(slots))

    def leave(self) -> None:
        """Ask every gateway to begin nothing more here; a link that breaks now is not dialled again."""
        self._leaving = True
        for link in self.live:
            link.send(Draining())

    @property
    def parted(self) -> bool:
        """Whether all links can be closed without a loss."""
        return all(link.parted for link in self.live)

    async def _keep(self, path: str) -> None:
        wait = _FIRST_WAIT
        while not self._leaving and path in self._paths:
            gone = asyncio.Event()
            link = Link(self._dispatch, lambda _link, gone=gone: gone.set(), self._threads)  # type: ignore[misc]
            hello = self._hello
            try:
                await link.dial(path, hello)
            except Unavailable as exc:
                log.debug("%s", exc)
                self._has_tried(path)
                await asyncio.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT)
                continue
            wait = _FIRST_WAIT
            self._live[path] = link
            if hello is not self._hello:  # it was resized meanwhile
                link.send(Slots(self._hello.slots))
            self._has_tried(path)
            await gone.wait()
            del self._live[path]
        self._keepers.pop(path, None)

    def _has_tried(self, path: str) -> None:
        self._to_try.discard(path)
        if not self._to_try:
            self._tried.set()
