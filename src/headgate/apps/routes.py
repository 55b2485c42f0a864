"""Which handler a request belongs to, found without running any of the app's code.

A Flask app's own URL map decides, so that the name is that of the view which will run. Any other WSGI or ASGI
app keeps its routes to itself: all its requests of one method count as one handler.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

import msgspec

_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"))
_MOST_PATHS: Final = 4096


class Match(msgspec.Struct, frozen=True):
    """What a path leads to."""

    handler: str
    """`GET /orders/<id>`, `ws /updates`; `GET *` where the app has no rule."""
    rule: str | None = None
    arguments: Mapping[str, Any] = {}


class Routes(Protocol):
    """The handlers of an app."""

    rules: list[tuple[str, str]]
    """(handler, rule in Flask's notation) of every route."""

    def request(self, method: str, path: str, host: str) -> Match: ...

    def websocket(self, path: str, host: str) -> Match: ...


class PlainRoutes:
    """The routes of an app that shows none, except for the native sockets declared beside it.

    Args:
        sockets: rules of native sockets.
    """

    def __init__(self, sockets: list[str] | None = None) -> None:
        self._sockets = sockets or []
        self.rules = [(f"ws {rule}", rule) for rule in self._sockets]

    def request(self, method: str, path: str, host: str) -> Match:
        return Match(f"{method_name(method)} *")

    def websocket(self, path: str, host: str) -> Match:
        if path in self._sockets:
            return Match(f"ws {path}", path)
        return Match("ws *")


class FlaskRoutes:
    """The routes of a Flask app.

    Matches are remembered per path, because the URL map gives the same answer each time: the check
    that a fast app worker makes before every request costs a dictionary look-up.

    Args:
        app: the Flask app; or a Quart one, whose map is of the same kind.
        sockets: rules of native sockets declared beside it, if they are not in its map.
    """

    def __init__(self, app: Any, sockets: list[str] | None = None) -> None:
        self._native = PlainRoutes(sockets)
        self._map = app.url_map
        self._by_host = bool(self._map.host_matching or getattr(app, "subdomain_matching", False))
        self._server_name = app.config.get("SERVER_NAME") or ""
        self._known: dict[tuple[str, str, str], Match] = {}
        self.rules = [*self._native.rules, *_listed(self._map)]

    def request(self, method: str, path: str, host: str) -> Match:
        """The handler of a request. `path` is percent-decoded and without the root path."""
        return self._find(method, path, host if self._by_host else "")

    def websocket(self, path: str, host: str) -> Match:
        """The handler of a handshake."""
        native = self._native.websocket(path, host)
        return native if native.rule is not None else self._find("ws", path, host if self._by_host else "")

    def _find(self, method: str, path: str, host: str) -> Match:
        key = (method, path, host)
        match = self._known.get(key)
        if match is None:
            match = self._match(method, path, host)
            if len(self._known) >= _MOST_PATHS:
                self._known.clear()  # paths with ids in them: start anew rather than keep an order of use
            self._known[key] = match
        return match

    def _match(self, method: str, path: str, host: str) -> Match:
        from werkzeug.exceptions import HTTPException
        from werkzeug.routing import RoutingException

        websocket = method == "ws"
        try:
            adapter = self._map.bind(host or "localhost", subdomain=self._subdomain(host), url_scheme="http")
            rule, arguments = adapter.match(
                path, "GET" if websocket else method, return_rule=True, websocket=websocket, query_args={}
            )
        except (HTTPException, RoutingException):
            return Match("ws *" if websocket else f"{method_name(method)} *")
        return Match(f"ws {rule.rule}" if websocket else f"{method_name(method)} {rule.rule}", rule.rule, arguments)

    def _subdomain(self, host: str) -> str | None:
        if not host or self._map.host_matching:
            return None
        name, base = host.partition(":")[0], self._server_name.partition(":")[0]
        return name.removesuffix(base).rstrip(".") if base and name.endswith(base) else None


def _listed(url_map: Any) -> Iterator[tuple[str, str]]:
    for rule in url_map.iter_rules():
        if rule.websocket:
            yield f"ws {rule.rule}", rule.rule
        else:
            for method in sorted(rule.methods or _METHODS):
                yield f"{method} {rule.rule}", rule.rule


def method_name(method: str) -> str:
    """The method as a part of a name: one of those that HTTP knows, or OTHER, since clients can make up any number."""
    return method if method in _METHODS else "OTHER"
