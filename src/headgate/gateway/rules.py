"""Guesses the handler of a request from its path, by the rules that app workers announce in their hello.

A guess decides a lane, nothing else: the app's own routing has the last word, and tells the handler it found.
Rules come in Flask's notation. Only the shape of a converter is used; no pattern of the user's is run here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_PART: Final = re.compile(r"<(?:(?P<kind>[a-zA-Z_][a-zA-Z0-9_]*)(?:\([^>]*\))?:)?[a-zA-Z_][a-zA-Z0-9_]*>")
_SHAPES: Final = {"int": r"\d+", "float": r"\d+\.\d+", "path": r".+", "uuid": r"[0-9A-Fa-f-]{36}"}
LEARNED: Final = 4096
"""Paths kept of which an app worker has told the handler."""


class Rules:
    """The rules of one app.

    Args:
        rules: (handler, rule) pairs; a handler is `METHOD rule` or `ws rule`.
    """

    def __init__(self, rules: Iterable[tuple[str, str]] = ()) -> None:
        self.source = tuple((handler, rule) for handler, rule in rules)
        self._static: dict[tuple[str, str], str] = {}
        self._shaped: dict[tuple[str, int], list[tuple[re.Pattern[str], str]]] = {}
        self._told: dict[tuple[str, str], str] = {}
        for handler, rule in self.source:
            self._add(handler.partition(" ")[0], handler, rule)

    def handler(self, method: str, path: str) -> str:
        """The handler of a path; `METHOD *` when no rule fits. `ws` is the method of a handshake."""
        found = self._static.get((method, path)) or self._told.get((method, path))
        if found is not None:
            return found
        return self._by_shape(method, path) or (self.handler("GET", path) if method == "HEAD" else f"{method} *")

    def told(self, method: str, path: str, handler: str) -> None:
        """An app worker found this handler where no rule fitted; remembered for a bounded number of paths."""
        if (method, path) not in self._static:
            if len(self._told) >= LEARNED:
                del self._told[next(iter(self._told))]
            self._told[method, path] = handler

    def _add(self, method: str, handler: str, rule: str) -> None:
        if "<" not in rule:
            self._static.setdefault((method, rule), handler)
            return
        pattern, open_ended = _pattern(rule)
        key = (method, -1 if open_ended else rule.count("/"))
        self._shaped.setdefault(key, []).append((pattern, handler))

    def _by_shape(self, method: str, path: str) -> str | None:
        for count in (path.count("/"), -1):
            for pattern, handler in self._shaped.get((method, count), ()):
                if pattern.fullmatch(path):
                    return handler
        return None


def _pattern(rule: str) -> tuple[re.Pattern[str], bool]:
    """A rule as a pattern of our own making, and whether it may match slashes."""
    out, at, open_ended = [], 0, False
    for part in _PART.finditer(rule):
        kind = part["kind"] or "string"
        open_ended = open_ended or kind == "path"
        out += [re.escape(rule[at : part.start()]), _SHAPES.get(kind, r"[^/]+")]
        at = part.end()
    out.append(re.escape(rule[at:]))
    return re.compile("".join(out)), open_ended
