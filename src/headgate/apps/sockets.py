"""Native sockets: each event is a call of its own, which finds all it needs in its message and keeps nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from headgate.apps.contexts import Contexts
from headgate.apps.exchange import Exchange, Sender
from headgate.apps.failures import report
from headgate.apps.routes import Match
from headgate.base.errors import Full
from headgate.base.jobcontext import WORK
from headgate.declare.socket import Action, Socket, SocketRoute, encode_answer, message_id
from headgate.link.messages import Accept, Answer, Effect, Effects, Fail, Message, Open, Reject

_encode_state = msgspec.msgpack.Encoder().encode
_NO_STATE = _encode_state({})


class _Collected:
    """Effects of a handshake: they take place once it is accepted."""

    def __init__(self) -> None:
        self.actions: list[Effect] = []

    def effects(self, connection: str, actions: list[Action]) -> None:
        self.actions += [Effect(kind, data) for kind, data in actions]


class _Direct:
    """Effects of a message: they take place at once, in the order of the calls."""

    def __init__(self, link: Sender) -> None:
        self._link = link

    def effects(self, connection: str, actions: list[Action]) -> None:
        self._link.send(Effects(connection, [Effect(kind, data) for kind, data in actions]))


class NativeSockets:
    """Runs the handlers of native sockets on the calling thread.

    Args:
        routes: declared sockets by rule.
        contexts: of the app's framework.
        clock: seconds, for run times.
    """

    def __init__(
        self,
        routes: Mapping[str, SocketRoute],
        contexts: Contexts,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._routes = routes
        self._contexts = contexts
        self._clock = clock

    def serves(self, match: Match) -> bool:
        return match.rule in self._routes

    def open(self, exchange: Exchange, message: Open, match: Match) -> None:
        """Answer a handshake. Raises nothing."""
        since = self._clock()
        WORK.set(exchange.handler)
        try:
            answer: Any = self._accept_or_reject(exchange, message, match, since)
        except BaseException as exc:
            answer = Fail(exchange.stream, exchange.handler, report(exc, exchange.handler), self._clock() - since)
        exchange.link.send(answer)
        exchange.link.finished(exchange.stream)

    def message(self, exchange: Exchange, message: Message, match: Match) -> None:
        """Handle one message, or the end of a connection. Raises nothing."""
        since = self._clock()
        WORK.set(exchange.handler)
        data: str | bytes | None = None
        state: dict[str, Any] | None = None
        error_id: str | None = None
        try:
            data, state = self._handle(exchange.link, message, match)
        except Full as exc:
            data = _error(message.data, "busy", retry_after=exc.retry_after)
        except _BadMessage as exc:
            data = _error(message.data, "bad_message", message=str(exc))
        except BaseException as exc:  # SystemExit too: a handler must not end the worker's thread
            error_id = report(exc, exchange.handler)
            data = _error(message.data, "internal", error_id=error_id)
        run = self._clock() - since
        exchange.link.send(Answer(exchange.stream, exchange.handler, data, state, [], run, error_id))
        exchange.link.finished(exchange.stream)

    def _accept_or_reject(self, exchange: Exchange, message: Open, match: Match, since: float) -> Accept | Reject:
        route = self._routes[match.rule or ""]
        collected = _Collected()
        with self._contexts.entered(message.scope) as request:
            sock = Socket(message.connection, request, {}, collected)
            sock.subprotocols = message.scope.subprotocols

            def connect() -> Any:
                return None if route.connect is None else route.connect(sock, **match.arguments)

            refusal = self._contexts.admit(connect)
        run = self._clock() - since
        if refusal is not None:
            return Reject(exchange.stream, refusal.status, refusal.headers, refusal.body, exchange.handler, run)
        _encode_state(sock.state)  # what msgpack cannot carry is the handler's error, and is to be told as such
        options: dict[str, Any] = {"concurrent": route.concurrent, "disconnect": route.disconnect is not None}
        if route.event_field:
            options["event_field"] = list(route.event_field)
        options |= {name: told for name in ("session", "key") if (told := getattr(sock, name)) is not None}
        return Accept(
            exchange.stream,
            True,
            exchange.handler,
            sock.subprotocol,
            [],
            sock.state,
            options,
            collected.actions,
            run,
        )

    def _handle(self, link: Sender, message: Message, match: Match) -> tuple[str | bytes | None, dict[str, Any] | None]:
        """Returns the answer, and the state if it has changed."""
        route = self._routes[match.rule or ""]
        before = _encode_state(message.state) if message.state else _NO_STATE
        answer = None
        with self._contexts.entered(message.scope) as request:
            sock = Socket(message.connection, request, message.state, _Direct(link))
            if message.kind == "disconnect":
                if route.disconnect is not None:
                    route.disconnect(sock, message.code, message.reason, **match.arguments)
                return None, None
            try:
                decoded = route.decode(message.data)
            except ValueError as exc:
                raise _BadMessage(str(exc)) from None
            answer = route.handler(sock, decoded, **match.arguments)
        data = None if answer is None else encode_answer(answer, message.data)
        return data, sock.state if _encode_state(sock.state) != before else None


class _BadMessage(Exception):
    """The message is not what the socket takes; its text goes to the client."""


def _error(answered: str | bytes | None, error: str, **more: Any) -> str:
    body: dict[str, Any] = {"headgate": "error"}
    if (given := message_id(answered)) is not None:
        body["id"] = given
    return msgspec.json.encode({**body, "error": error, **more}).decode()
