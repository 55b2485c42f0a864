"""The request context of a handshake, for the handlers of native sockets: Flask's own where there is a Flask app."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.cookies import CookieError, SimpleCookie
from typing import Any, Protocol
from urllib.parse import parse_qsl

import msgspec

from headgate.apps.environ import Environ, EnvironMaker
from headgate.link.messages import Scope


class Refusal(msgspec.Struct, frozen=True):
    """A handshake answered with an HTTP response instead."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


FORBIDDEN = Refusal(403, [(b"content-type", b"text/plain; charset=utf-8")], b"This connection is not allowed.\n")


class Contexts(Protocol):
    """What native sockets need of the app's framework."""

    def entered(self, scope: Scope) -> Any:
        """A context manager around a handler; yields the request."""

    def admit(self, connect: Callable[[], Any]) -> Refusal | None:
        """Inside `entered`: let the app and `connect` decide about a handshake."""


class HandshakeRequest:
    """The handshake as an app without Flask sees it: `headers`, `path`, `query`, `cookies`, `client`."""

    def __init__(self, scope: Scope) -> None:
        self.path = scope.path
        self.client = scope.client
        self.subprotocols = scope.subprotocols
        self.headers: Mapping[str, str] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope.headers
        }
        """Names in lower case."""
        self.query: Mapping[str, str] = dict(parse_qsl(scope.query.decode("latin-1"), keep_blank_values=True))

    @property
    def cookies(self) -> dict[str, str]:
        try:
            jar = SimpleCookie(self.headers.get("cookie", ""))
        except CookieError:
            return {}
        return {name: morsel.value for name, morsel in jar.items()}


class PlainContexts:
    """Without a framework: the handler gets the handshake and nothing around it."""

    @contextmanager
    def entered(self, scope: Scope) -> Iterator[HandshakeRequest]:
        yield HandshakeRequest(scope)

    def admit(self, connect: Callable[[], Any]) -> Refusal | None:
        answer = connect()
        if answer is None or answer is True:
            return None
        if answer is False:
            return FORBIDDEN
        body, status, headers = answer if isinstance(answer, tuple) else (answer, 403, {})
        raw = body if isinstance(body, bytes) else str(body).encode()
        return Refusal(status, [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()], raw)


class FlaskContexts:
    """In a Flask app: `flask.request` and `flask.session` are those of the handshake.

    Args:
        app: the Flask app.
        environs: makes the handshake's environ.
    """

    def __init__(self, app: Any, environs: EnvironMaker) -> None:
        self._app = app
        self._environs = environs

    @contextmanager
    def entered(self, scope: Scope) -> Iterator[Any]:
        with self._app.request_context(handshake_environ(self._environs, scope)) as context:
            yield context.request

    def admit(self, connect: Callable[[], Any]) -> Refusal | None:
        """`before_request` functions run first, so that an app's login check guards its sockets as well."""
        app = self._app
        try:
            answer = app.preprocess_request()
            if answer is None:
                answer = connect()
        except Exception as exc:
            answer = app.handle_user_exception(exc)  # raises again what no error handler takes
        if answer is None or answer is True:
            return None
        if answer is False:
            return FORBIDDEN
        response = app.process_response(app.make_response(answer))
        headers = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in response.headers.items()]
        return Refusal(response.status_code, headers, response.get_data())


def handshake_environ(environs: EnvironMaker, scope: Scope) -> Environ:
    """The environ of a handshake, as a WSGI server sees it before the upgrade."""
    environ = environs.make(scope, b"")
    environ["wsgi.url_scheme"] = "https" if scope.scheme in ("wss", "https") else "http"
    environ["HTTP_UPGRADE"], environ["HTTP_CONNECTION"] = "websocket", "Upgrade"  # what Werkzeug tells one by
    return environ


def is_flask(app: Any) -> bool:
    """Whether the app is a Flask app; does not import Flask to find out."""
    flask = sys.modules.get("flask")
    return flask is not None and isinstance(app, flask.Flask)
