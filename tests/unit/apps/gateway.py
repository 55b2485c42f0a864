"""A gateway's end of a link for tests: blocking, one worker, nothing learned."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from headgate.apps.asgi_host import AsgiHost
from headgate.apps.links import Links
from headgate.apps.loader import Loaded
from headgate.apps.plan import WorkerPlan
from headgate.apps.wsgi_host import WsgiHost
from headgate.link.messages import (
    VERSION,
    Cancel,
    Chunk,
    Credit,
    Fail,
    GatewayHello,
    Head,
    Known,
    Message,
    Open,
    Request,
    Scope,
    WorkerHello,
)
from headgate.link.session import gateway_session

M = TypeVar("M")
PATIENCE = 10.0


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether the condition comes true before the deadline."""
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


def scope(method: str = "GET", path: str = "/", query: bytes = b"", **more: Any) -> Scope:
    """A scope as a gateway makes it."""
    headers = [(b"host", b"desk.example"), *more.pop("headers", [])]
    given: dict[str, Any] = {
        "raw_path": path.encode(),
        "http_version": "1.1",
        "scheme": "http",
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "root_path": "",
        "request_id": "r1",
    }
    return Scope(method=method, path=path, query=query, headers=headers, **(given | more))


class FakeGateway:
    """Speaks to one worker over a real Unix socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._session = gateway_session()
        self._got: list[Any] = []
        self._streams = itertools.count(1)
        sock.settimeout(PATIENCE)
        self.send(GatewayHello(VERSION, 0, 1, ""))
        self.hello = self.expect(WorkerHello)

    def send(self, message: Any) -> None:
        self._socket.sendall(self._session.encode(message))

    def close(self) -> None:
        self._socket.close()

    def receive(self) -> Any:
        """The next message."""
        while not self._got:
            data = self._socket.recv(1 << 20)
            if not data:
                raise EOFError("the worker closed the link")
            self._got += self._session.feed(data)
        return self._got.pop(0)

    def expect(self, kind: type[M]) -> M:
        """The next message, which is of this kind."""
        message = self.receive()
        assert isinstance(message, kind), message
        return message

    def next(self, kind: type[M]) -> M:
        """The next message of this kind; others are dropped."""
        while True:
            message = self.receive()
            if isinstance(message, kind):
                return message

    def quiet(self, seconds: float = 0.1) -> bool:
        """Whether nothing comes for a moment."""
        if self._got:
            return False
        self._socket.settimeout(seconds)
        try:
            self._got += self._session.feed(self._socket.recv(1 << 20))
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(PATIENCE)
        return not self._got

    def request(self, scope: Scope, body: bytes = b"", handler: str | None = None, **more: Any) -> int:
        stream = next(self._streams)
        self.send(Request(stream, handler or f"{scope.method} {scope.path}", scope, body, **more))
        return stream

    def open(self, scope: Scope, connection: str = "c1") -> int:
        stream = next(self._streams)
        self.send(Open(stream, connection, f"ws {scope.path}", scope))
        return stream

    def message(self, scope: Scope, data: Any, state: dict[str, Any] | None = None, **more: Any) -> int:
        stream = next(self._streams)
        given = {"connection": "c1", "handler": f"ws {scope.path}", "kind": "message"} | more
        self.send(Message(stream=stream, scope=scope, state=state or {}, data=data, **given))
        return stream

    def answer(self, credit: bool = True) -> tuple[Head, bytes]:
        """A whole response: its head and body, giving credit as it comes. Fails on `Fail`."""
        head = self.expect(Head)
        body, more = head.body, head.more
        while more:
            chunk = self.receive()
            assert not isinstance(chunk, Fail), chunk
            assert isinstance(chunk, Chunk)
            body += chunk.body
            more = chunk.more
            if credit:
                self.send(Credit(chunk.stream, len(chunk.body)))
        return head, body

    def get(self, path: str, **more: Any) -> tuple[int, dict[bytes, bytes], bytes]:
        """Status, headers and body of a GET."""
        self.request(scope(path=path, **more))
        head, body = self.answer()
        return head.status, dict(head.headers), body

    def cancel(self, stream: int) -> None:
        self.send(Cancel(stream))

    def knows(self, **lanes: bool) -> None:
        self.send(Known(lanes))


class Hosted:
    """An app in a worker of its own thread, linked with a fake gateway."""

    def __init__(
        self, host: WsgiHost | AsgiHost, gateway: FakeGateway, call: Callable[[Callable[[], Any]], Any]
    ) -> None:
        self.host = host
        self.gateway = gateway
        self.call = call
        """Runs a function on the worker's loop."""


class _Serving:
    """The worker's loop, on a thread of its own."""

    def __init__(self, app: Any, asgi: bool, plan: WorkerPlan) -> None:
        loaded = Loaded(app, "asgi" if asgi else "wsgi", contextlib)
        self.host: WsgiHost | AsgiHost = (AsgiHost if asgi else WsgiHost)(loaded, plan)
        self.loop = asyncio.new_event_loop()
        self._paths = plan.links
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self.loop.run_until_complete, args=[self._serve()], daemon=True)
        self._thread.start()

    async def _serve(self) -> None:
        host = self.host
        await host.start()
        links = Links(self._paths, host.hello, host.dispatch, host.threads)
        await links.start()
        ticking = asyncio.create_task(self._tick(links))
        await self._stop.wait()
        ticking.cancel()
        host.end()
        await host.stop(PATIENCE)
        await links.close()

    async def _tick(self, links: Links) -> None:
        while True:
            self.host.tick()
            links.resize(self.host.slots)
            await asyncio.sleep(0.02)

    def call(self, function: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(PATIENCE)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)
        self.loop.close()


@contextlib.contextmanager
def hosted(app: Any, folder: Path, *, asgi: bool = False, **plan: Any) -> Iterator[Hosted]:
    """Host an app as an app worker does, all but its process."""
    path = str(folder / "g.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(PATIENCE)
        given: dict[str, Any] = {"app": "x:app", "name": "app-slow-0.1", "lane": "slow", "generation": 1, "slots": 4}
        serving = _Serving(app, asgi, WorkerPlan(**(given | {"links": [path]} | plan)))
        try:
            sock, _ = listener.accept()
            gateway = FakeGateway(sock)
            yield Hosted(serving.host, gateway, serving.call)
            gateway.close()
        finally:
            serving.close()
