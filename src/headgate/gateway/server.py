"""uvicorn under the gateway: on sockets that are there already, without signals, lifespan or a header of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator

import uvicorn

from headgate.gateway.app import GatewayApp
from headgate.gateway.door import Door
from headgate.gateway.httpproto import HttpProtocol
from headgate.gateway.noted import Noted

log = logging.getLogger("headgate.gateway")


class _Server(uvicorn.Server):
    """uvicorn's server; signals are the supervisor's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """Accepts connections on inherited sockets.

    Args:
        app: the ASGI app, which is the protocol's `Front` too.
        keep_alive: seconds that an idle HTTP connection stays.
        head_timeout: seconds for a request's head to be complete.
        door: whether something comes before HTTP on a connection.
        send_timeout: seconds without a byte taken after which a response is given up; 0 for no limit.
    """

    def __init__(
        self, app: GatewayApp, *, keep_alive: float, head_timeout: float, send_timeout: float, door: bool = False
    ) -> None:
        self._app = app
        self._protocol: type[HttpProtocol | Door] = Door if door else HttpProtocol
        self._head_timeout = head_timeout
        self._send_timeout = send_timeout
        self._noted = Noted(log)
        self._task: asyncio.Task[None] | None = None
        self._adopting: set[asyncio.Task[None]] = set()
        config = uvicorn.Config(
            app,
            http=self._protocol,
            ws="websockets-sansio",  # taken over in HttpProtocol.handle_websocket_upgrade
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=max(1, round(keep_alive)),
            timeout_graceful_shutdown=None,
            backlog=2048,
        )
        self._server = _Server(config)
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what clients send wrong is answered, not logged

    async def start(self, listeners: list[socket.socket]) -> None:
        """Accept from now on."""
        self._task = asyncio.create_task(self._server.serve(sockets=listeners), name="uvicorn")
        while not self._server.started and not self._task.done():  # noqa: ASYNC110 - uvicorn offers only a flag
            await asyncio.sleep(0.005)
        if self._task.done():
            self._task.result()

    def adopt(self, sock: socket.socket) -> None:
        """Serve a connection that another gateway has accepted."""
        loop = asyncio.get_running_loop()

        def protocol() -> HttpProtocol | Door:
            made = self._protocol(self._server.config, self._server.server_state, {}, loop)
            made.adopted = True
            return made

        task = loop.create_task(self._adopt(protocol, sock))
        self._adopting.add(task)
        task.add_done_callback(self._adopting.discard)

    async def _adopt(self, protocol: Callable[[], HttpProtocol | Door], sock: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(protocol, sock)
        except OSError:  # the client has gone
            sock.close()

    def second(self, now: float) -> None:
        """To be called once a second with the loop's time: end connections that keep us waiting too long."""
        for protocol in list(self._server.server_state.connections):
            if isinstance(protocol, HttpProtocol):
                if protocol.late(now, self._head_timeout):
                    self._app.limited["head_timeout"] += 1
                    protocol.refuse_late()
                if protocol.stalled(now) > self._send_timeout > 0:
                    self._give_up(protocol)
            elif isinstance(protocol, Door) and protocol.late(now):
                protocol.refuse_late()

    def _give_up(self, protocol: HttpProtocol) -> None:
        """A client that takes nothing holds a thread of the app, in the end: it is cut off."""
        self._app.stalled += 1
        self._app.limited["send_timeout"] += 1
        self._noted.warn(
            "stalled",
            "the client %s has taken nothing of its response for %g s (send_timeout): cut off",
            protocol.client[0] if protocol.client else "on a Unix socket",
            self._send_timeout,
        )
        protocol.abort()

    async def stop(self, seconds: float, settle: float = 0.0) -> None:
        """Accept nothing more, let requests finish, then end; after `seconds` they are cut.

        Args:
            settle: seconds for clients that have just connected to send their request: to close on them would fail it.
        """
        if self._task is None:
            return
        for server in self._server.servers:
            server.close()
        await asyncio.sleep(settle)
        self._server.config.timeout_graceful_shutdown = max(1, int(seconds))
        self._server.should_exit = True
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._task), seconds + 2)
        if not self._task.done():
            self._server.force_exit = True
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
