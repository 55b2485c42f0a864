"""A gateway in the test's own loop, with app workers that are played by the test over real links."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from headgate.base.ports import Engine
from headgate.config.settings import Settings
from headgate.gateway.gateway import Gateway
from headgate.link.messages import (
    VERSION,
    Accept,
    Answer,
    Cancel,
    Closed,
    Draining,
    Effect,
    Feed,
    GatewayHello,
    Head,
    Known,
    Message,
    Open,
    Request,
    WorkerHello,
)
from headgate.link.session import worker_session
from headgate.link.transport import LinkTransport, dial
from headgate.supervisor.stop import Stop

DEADLINE = 10.0
"""Seconds that a test waits for anything."""


async def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait until the condition is true."""
    async with asyncio.timeout(DEADLINE):
        while not (found := condition()):  # noqa: ASYNC110 - conditions of all kinds
            await asyncio.sleep(0.002)
    assert found, what
    return found


class FakeWorker:
    """An app worker whose handlers are the test's.

    By default it answers requests with 200 "ok", accepts every socket as a native one, and echoes messages.
    """

    def __init__(self, name: str, lane: str = "fast", slots: int = 4) -> None:
        self.hello = WorkerHello(
            VERSION, name, 1, lane, 1, slots, "wsgi", [("GET /", "/"), ("POST /echo", "/echo"), ("ws /ws", "/ws")], {}
        )
        self.got: list[Any] = []
        self.known: dict[str, bool] = {}
        self.link: LinkTransport[Any, Any] | None = None
        self.gone = asyncio.Event()
        self.on_request: Callable[[Request], None] = self.ok
        self.on_open: Callable[[Open], None] = self.accept
        self.on_message: Callable[[Message], None] = self.echo
        self.on_other: Callable[[Any], None] = lambda _: None

    async def connect(self, path: str) -> Self:
        self.link = await dial(path, worker_session(), self._hear, lambda *_: self.gone.set())
        self.link.send(self.hello)
        await until(lambda: any(isinstance(one, GatewayHello) for one in self.got), "the gateway's hello")
        return self

    def send(self, message: Any) -> None:
        assert self.link is not None
        self.link.send(message)

    async def die(self) -> None:
        assert self.link is not None
        self.link.abort()
        await self.gone.wait()

    def seen(self, kind: type[Any]) -> list[Any]:
        return [one for one in self.got if isinstance(one, kind)]

    async def next(self, kind: type[Any], number: int = 1) -> Any:
        """The nth message of a kind."""
        await until(lambda: len(self.seen(kind)) >= number, f"{kind.__name__} number {number}")
        return self.seen(kind)[number - 1]

    # what handlers do

    def ok(self, request: Request) -> None:
        self.respond(request, b"ok")

    def respond(self, request: Request, body: bytes, run: float = 0.001, status: int = 200) -> None:
        self.send(Head(request.stream, status, [(b"content-type", b"text/plain")], body, False, request.handler, run))

    def accept(self, handshake: Open, *, native: bool = True, effects: list[Effect] | None = None) -> None:
        self.send(
            Accept(
                handshake.stream, native, handshake.handler, None, [], {}, {"disconnect": True}, effects or [], 0.001
            )
        )

    def echo(self, message: Message) -> None:
        data = None if message.kind == "disconnect" else message.data
        self.send(Answer(message.stream, message.handler, data, None, [], 0.001))

    def hold(self, message: Any) -> None:
        """Leave it unanswered; the test does that later."""

    def _hear(self, _: LinkTransport[Any, Any], message: Any) -> None:
        self.got.append(message)
        match message:
            case Request():
                self.on_request(message)
            case Open():
                self.on_open(message)
            case Message():
                self.on_message(message)
            case Known():
                self.known.update(message.lanes)
            case Cancel() | Feed() | Closed():
                self.on_other(message)
            case _:
                pass


class Rig:
    """A gateway on a private port and link socket.

    Args:
        engine: given to the gateway; None for none.
        settings: changes to the defaults.
    """

    def __init__(self, engine: Engine | None = None, **settings: Any) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="hg-")
        self.folder = Path(self._folder.name)
        self.stop = Stop()
        self.stats: dict[str, Any] = {}
        self._workers: list[FakeWorker] = []
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.link_path = str(self.folder / "link.sock")
        link = socket.socket(socket.AF_UNIX)
        link.bind(self.link_path)
        link.listen()
        fast = ("GET /", "POST /echo", "ws /ws", "ws /ws:message", "ws /ws:disconnect")
        pins = {"lane": dict.fromkeys(fast, "fast")}
        self.gateway = Gateway(
            Settings(data=str(self.folder), **{**pins, **settings}),
            index=0,
            listeners=[listener],
            link=link,
            engine=engine,
            secret="s" * 32,
            publish_stats=self.stats.update,
        )
        self._task: asyncio.Task[None] | None = None

    def limited(self) -> dict[str, int]:
        """The bounds that were reached, and how often."""
        return {bound: count for bound, count in self.gateway.report.limited().items() if count}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def worker(self, name: str = "w1", lane: str = "fast", slots: int = 4) -> FakeWorker:
        worker = await FakeWorker(name, lane, slots).connect(self.link_path)
        self._workers.append(worker)
        return worker

    async def drained(self, worker: FakeWorker) -> None:
        """Have a worker say that it takes nothing new, and the gateway hear it."""
        worker.send(Draining())
        await until(lambda: self.gateway.exchange.links[worker.hello.worker].draining, "draining")

    async def finish(self, seconds: float = 5.0) -> None:
        """Order the stop, and wait for the end."""
        self.stop.order(seconds)
        assert self._task is not None
        async with asyncio.timeout(DEADLINE + seconds):
            await self._task

    async def talk(self, data: bytes, *, eof: bool = False) -> bytes:
        """Send bytes as they are; returns all that comes until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            if eof:
                writer.write_eof()
            async with asyncio.timeout(DEADLINE):
                return await reader.read()
        except ConnectionResetError:
            return b"reset"
        finally:
            writer.close()

    async def __aenter__(self) -> Self:
        started = asyncio.Event()
        self._task = asyncio.create_task(self.gateway.run(started.set, self.stop))
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait([self._task, waiting], timeout=DEADLINE, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            waiting.cancel()
            self._task.result()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._task is not None and not self._task.done():
            await self.finish(1.0)
        for worker in self._workers:
            if worker.link is not None:
                worker.link.abort()
        self._folder.cleanup()


async def quick(what: Awaitable[Any]) -> Any:
    """Await something with the tests' deadline."""
    async with asyncio.timeout(DEADLINE):
        return await what
