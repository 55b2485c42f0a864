"""What begins on a link (requests, handshakes, messages) finds its handler, its lane's consent and its thread here.

Runs where the link is read, so nothing here may block, and no code of the app runs.
"""

from __future__ import annotations

from typing import Any, Protocol

from headgate.apps.exchange import Exchange
from headgate.apps.lane_check import LaneCheck
from headgate.apps.links import Link
from headgate.apps.loop_runner import LoopRunner
from headgate.apps.offload import Offloader
from headgate.apps.routes import Match, Routes
from headgate.apps.socketio.host import Socketio
from headgate.apps.sockets import NativeSockets
from headgate.apps.wsgi import WsgiRunner
from headgate.link.messages import Bounce, Known, Message, Open, Request, Scope
from headgate.link.socketio import SioAck, SioEvent, SioReply


class Dispatcher(Protocol):
    """Takes what begins on a link."""

    def __call__(self, link: Link, message: Any) -> None: ...


class Traffic:
    """Counts what an app worker has done, for `headgate status`."""

    def __init__(self) -> None:
        self.requests = self.messages = self.handshakes = self.bounced = 0


class WsgiDispatcher:
    """For a WSGI app: handlers on the pool's threads, loops on their own.

    Args:
        routes: the app's handlers.
        check: the wall between the lanes.
        requests, sockets, loops: what runs each kind.
        offloader: what makes jobs of requests.
    """

    def __init__(
        self,
        routes: Routes,
        check: LaneCheck,
        requests: WsgiRunner,
        sockets: NativeSockets,
        loops: LoopRunner,
        offloader: Offloader,
    ) -> None:
        self.traffic = Traffic()
        self.draining = False
        """Nothing new is begun; a gateway that has not heard so yet gets it back."""
        self.socketio: Socketio | None = None
        self._routes = routes
        self._check = check
        self._requests = requests
        self._sockets = sockets
        self._loops = loops
        self._offloader = offloader

    def __call__(self, link: Link, message: Any) -> None:
        kind = type(message)
        if isinstance(message, Request):
            self._request(link, message)
        elif isinstance(message, Message):
            self._message(link, message)
        elif isinstance(message, Open):
            self._open(link, message)
        elif kind is Known:
            self._check.learn(message.lanes)
        elif self.socketio is not None:
            self._socketio(link, message, self.socketio)

    def _request(self, link: Link, message: Request) -> None:
        scope = message.scope
        handler = self._routes.request(scope.method, path_of(scope), host_of(scope)).handler
        view, wish = handler, self._offloader.wish(handler, scope.headers)
        if wish is not None:  # a handler of its own: that it is accepted quickly says nothing of the view
            handler = f"{view} {wish.label}"
        if self._refused(link, message, handler):
            return
        self.traffic.requests += 1
        if wish is not None:
            link.submit(handler, self._offloader.run, link.opened(message.stream, handler), message, view, wish)
            return
        link.submit(handler, self._requests.run, link.opened(message.stream, handler), message)

    def _message(self, link: Link, message: Message) -> None:
        # the gateway has read the event out of the message: its name of the handler is the better one
        if self._refused(link, message, message.handler):
            return
        self.traffic.messages += 1
        match = self._socket_match(message.scope)
        exchange = link.opened(message.stream, message.handler)
        link.submit(message.handler, self._sockets.message, exchange, message, match)

    def _socketio(self, link: Link, message: Any, socketio: Socketio) -> None:
        if isinstance(message, SioReply):
            socketio.outlet.replied(message)
        elif isinstance(message, SioAck):
            socketio.runner.acknowledged(message)
        elif isinstance(message, SioEvent) and not self._refused(link, message, message.handler):
            self.traffic.messages += 1
            link.submit(message.handler, socketio.runner.event, link.opened(message.stream, message.handler), message)

    def _open(self, link: Link, message: Open) -> None:
        match = self._socket_match(message.scope)
        if self._refused(link, message, match.handler):
            return
        self.traffic.handshakes += 1
        exchange = link.opened(message.stream, match.handler)
        if self._sockets.serves(match):
            link.submit(match.handler, self._sockets.open, exchange, message, match)
        else:
            self._loop(link, exchange, message, match)

    def _loop(self, link: Link, exchange: Exchange, message: Open, match: Match) -> None:
        name = match.handler.replace("ws ", "loop ", 1)
        self._loops.start(exchange, message, name, lambda connection: link.feeds(message.stream, connection))

    def _socket_match(self, scope: Scope) -> Match:
        return self._routes.websocket(path_of(scope), host_of(scope))

    def _refused(self, link: Link, message: Request | Open | Message | SioEvent, handler: str) -> bool:
        if not self.draining and self._check.may_run(handler, message.handler):
            return False
        self.traffic.bounced += 1
        link.send(Bounce(message.stream, handler))
        return True


def path_of(scope: Scope) -> str:
    """The path inside the app."""
    return scope.path.removeprefix(scope.root_path) if scope.root_path else scope.path


def host_of(scope: Scope) -> str:
    """The Host header."""
    for name, value in scope.headers:
        if name == b"host":
            return value.decode("latin-1")
    return ""
