"""The routes of a Starlette app (FastAPI is one), matched by the app's own routing table without running a handler."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from headgate.apps.routes import Match, PlainRoutes, method_name

_PARAMETER: Final = re.compile(r"{([a-zA-Z_][a-zA-Z0-9_]*)(?::([a-zA-Z_][a-zA-Z0-9_]*))?}")
_KINDS: Final = {"str": "", "int": "int:", "float": "float:", "path": "path:", "uuid": "uuid:"}
_MOST_PATHS: Final = 4096


class StarletteRoutes:
    """The routes of the app and of what is mounted in it.

    Args:
        app: the Starlette app.
        sockets: rules of native sockets declared beside it.
    """

    def __init__(self, app: Any, sockets: list[str] | None = None) -> None:
        self._routes = app.routes
        self._native = PlainRoutes(sockets)
        self._known: dict[tuple[str, str], Match] = {}
        self.rules = [*self._native.rules, *_listed(app.routes, "")]

    def request(self, method: str, path: str, host: str) -> Match:
        return self._find(method, path, host)

    def websocket(self, path: str, host: str) -> Match:
        native = self._native.websocket(path, host)
        return native if native.rule is not None else self._find("ws", path, host)

    def _find(self, method: str, path: str, host: str) -> Match:
        match = self._known.get((method, path))
        if match is None:
            rule = _match(self._routes, _probe(method, path, host), "")
            verb = method if method == "ws" else method_name(method)
            match = Match(f"{verb} *") if rule is None else Match(f"{verb} {rule}", rule)
            if len(self._known) >= _MOST_PATHS:
                self._known.clear()
            self._known[method, path] = match
        return match


def _probe(method: str, path: str, host: str) -> dict[str, Any]:
    common = {"path": path, "root_path": "", "headers": [(b"host", host.encode("latin-1"))], "path_params": {}}
    if method == "ws":
        return {**common, "type": "websocket"}
    return {**common, "type": "http", "method": method}


def _match(routes: Any, scope: dict[str, Any], prefix: str) -> str | None:
    """The rule of the first route that takes the scope whole, as Starlette's own router picks it."""
    for route in routes:
        kind, child = route.matches(scope)
        if kind.name != "FULL":
            continue
        path = prefix + _rule(getattr(route, "path", ""))
        nested = getattr(route, "routes", None)
        if nested is None:
            return path
        return _match(nested, {**scope, **child}, path) or f"{path}/<path:rest>"
    return None


def endpoints(routes: Any, prefix: str = "") -> Iterator[tuple[Any, str]]:
    """Every HTTP route with the name of its handler, what is mounted included."""
    for route in routes:
        rule = prefix + _rule(getattr(route, "path", ""))
        if getattr(route, "routes", None) is not None:
            yield from endpoints(route.routes, rule)
        elif getattr(route, "methods", None) is not None:
            yield from ((route, f"{method} {rule}") for method in sorted(route.methods))


def _listed(routes: Any, prefix: str) -> Iterator[tuple[str, str]]:
    for route in routes:
        rule = prefix + _rule(getattr(route, "path", ""))
        if getattr(route, "routes", None) is not None:
            yield from _listed(route.routes, rule)
        elif getattr(route, "methods", None) is not None:
            yield from ((f"{method} {rule}", rule) for method in sorted(route.methods))
        elif type(route).__name__.endswith("WebSocketRoute"):
            yield f"ws {rule}", rule


def _rule(path: str) -> str:
    """Starlette's `{item_id:int}` in Flask's notation."""
    return _PARAMETER.sub(lambda found: f"<{_KINDS.get(found[2] or 'str', '')}{found[1]}>", path)
