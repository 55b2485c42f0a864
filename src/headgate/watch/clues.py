"""What a live stack tells besides its frames: the handler and request it serves, the statement or address it is at.

Frames' variables are looked at only in code that is known to hold these, once or twice in a stall.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final

from headgate.watch import calls
from headgate.watch.stacks import Frame, function_name, module, owner, walk

LONGEST: Final = 300
LINES: Final = 60
_SQL: Final = re.compile(
    r"^\s*(?:--.*\n\s*)*(select|insert|update|delete|with|merge|copy|call|exec|begin|commit|create|alter|drop|lock|vacuum"
    r"|truncate|replace|pragma|analyze|explain|refresh|values|set|show|declare|fetch)\b",
    re.IGNORECASE,
)
_URL: Final = re.compile(r"^(https?|wss?|ftp|redis|rediss|amqp|mongodb|postgresql|mysql)://", re.IGNORECASE)
_STATEMENTS: Final = ("query", "statement", "sql", "operation", "command", "q")
_DRIVERS: Final = frozenset(
    {
        "psycopg", "psycopg2", "pymysql", "MySQLdb", "mysql", "sqlite3", "sqlalchemy", "asyncpg", "django", "peewee",
        "oracledb", "cx_Oracle", "pyodbc", "pymssql", "clickhouse_driver", "duckdb", "aiosqlite", "records",
    }
)  # fmt: skip
_REQUEST_IDS: Final = ("x-request-id", "x-correlation-id", "request-id")


@dataclass
class Clues:
    """What was found; empty where nothing was."""

    call: str = ""
    """The call in the blamed frame, with its object's type."""
    handler: str = ""
    request_id: str = ""
    statement: str = ""
    url: str = ""
    function: tuple[str, str] = ("", "")
    """The function of the user's that was seen when the interpreter lock came free."""
    lines: dict[int, str] = field(default_factory=dict)
    """The calls on its lines: one of them held the lock, and which one is told from outside."""

    def merge(self, other: Clues) -> None:
        """Fill what is missing from another look at the same stall."""
        for name in ("call", "handler", "request_id", "statement", "url", "function", "lines"):
            if getattr(self, name) in ("", ("", ""), {}):
                setattr(self, name, getattr(other, name))


def find(frame: FrameType | None) -> Clues:
    """Look at a thread's live frames; never raises, never runs code of the service."""
    clues = Clues()
    frames = list(walk(frame))
    for step in (_call, _targets, _served):
        with contextlib.suppress(Exception):  # a clue is a bonus: a strange object must not cost the incident
            step(frames, clues)
    return clues


def lines(frame: FrameType | None) -> Clues:
    """The calls on the lines of the innermost function of the user's; for stalls that were seen late."""
    clues = Clues()
    found = next((each for each in walk(frame) if owner(each.f_code.co_filename) == "user"), None)
    if found is not None:
        code = found.f_code
        clues.function = (code.co_filename, function_name(code))
        numbers = {line for _, _, line in code.co_lines() if line is not None}
        for number in sorted(numbers)[:LINES]:
            with contextlib.suppress(Exception):
                expression = calls.on_line(Frame(code.co_filename, number, ""))
                if expression is not None and expression.function:
                    clues.lines[number] = calls.resolved(expression, found)
    return clues


def _call(frames: list[FrameType], clues: Clues) -> None:
    """The call that the innermost frame of the user's is in, and the text that it was given."""
    frame = next((each for each in frames if owner(each.f_code.co_filename) == "user"), None)
    if frame is None:
        return
    expression = calls.expression(frame.f_code, frame.f_lasti)
    if frame is frames[0]:
        clues.call = calls.resolved(expression, frame)
    for argument in expression.arguments[:2] if expression is not None else ():
        _note(calls.value_of(argument, frame), clues)


def _targets(frames: list[FrameType], clues: Clues) -> None:
    """The statement or address in the variables of drivers' and clients' frames."""
    for frame in frames[:40]:
        code = frame.f_code
        kind = owner(code.co_filename)
        if kind == "user":
            return
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if module(code.co_filename) in _DRIVERS:
            for name in _STATEMENTS:
                if name in names:
                    _note(frame.f_locals.get(name), clues)
        if "url" in names:
            _note(frame.f_locals.get("url"), clues)
        elif "fullurl" in names:
            _note(frame.f_locals.get("fullurl"), clues)
        elif code.co_name in ("getaddrinfo", "create_connection") and not clues.url:
            _note_address(frame.f_locals.get("host") or frame.f_locals.get("address"), clues)


def _note(value: Any, clues: Clues) -> None:
    if isinstance(value, bytes | bytearray):
        value = bytes(value[:LONGEST]).decode("utf-8", "replace")
    elif not isinstance(value, str):
        kind = type(value)
        home = kind.__module__.partition(".")[0]
        if home in ("sqlalchemy", "psycopg", "psycopg2") or kind.__name__ in ("URL", "Url"):
            value = str(value)
        elif kind.__module__ == "urllib.request":
            value = value.full_url
        else:
            return
    if not clues.url and _URL.match(value):
        clues.url = without_secrets(value)
    elif not clues.statement and _SQL.match(value):
        text = " ".join(value.split())
        clues.statement = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _note_address(value: Any, clues: Clues) -> None:
    if isinstance(value, tuple) and value:
        clues.url = ":".join(str(part) for part in value[:2])
    elif isinstance(value, str | bytes) and value:
        clues.url = value if isinstance(value, str) else value.decode("ascii", "replace")


def without_secrets(url: str) -> str:
    """An address without user, password and the values of its query."""
    url = re.sub(r"//[^/@]*@", "//", url[:LONGEST])
    head, mark, _query = url.partition("?")
    return head + (mark and "?…")


def _served(frames: list[FrameType], clues: Clues) -> None:
    """The request, from the outermost frame that holds one: WSGI's environ, ASGI's scope, Celery's task."""
    for frame in reversed(frames):
        names = frame.f_code.co_varnames
        if "environ" in names:
            environ = frame.f_locals.get("environ")
            if isinstance(environ, Mapping) and "REQUEST_METHOD" in environ:
                _wsgi(environ, clues)
                break
        if "scope" in names:
            scope = frame.f_locals.get("scope")
            if isinstance(scope, Mapping) and scope.get("type") in ("http", "websocket"):
                _asgi(scope, clues)
                break
        if frame.f_code.co_name in ("trace_task", "__protected_call__") and "uuid" in names:
            clues.request_id = str(frame.f_locals.get("uuid"))
            clues.handler = f"task {getattr(frame.f_locals.get('task'), 'name', '')}".strip()
    if not clues.handler:
        _native(frames, clues)


def _wsgi(environ: Mapping[str, Any], clues: Clues) -> None:
    socket = str(environ.get("HTTP_UPGRADE", "")).lower() == "websocket"
    rule = getattr(environ.get("werkzeug.request"), "__dict__", {}).get("url_rule")
    path = str(getattr(rule, "rule", None) or environ.get("PATH_INFO", "/"))
    clues.handler = f"{'ws' if socket else environ['REQUEST_METHOD']} {path}"
    for name in _REQUEST_IDS:
        value = environ.get("HTTP_" + name.upper().replace("-", "_"))
        if value:
            clues.request_id = str(value)[:100]


def _asgi(scope: Mapping[str, Any], clues: Clues) -> None:
    word = "ws" if scope["type"] == "websocket" else str(scope.get("method", "GET"))
    route = scope.get("route")
    clues.handler = f"{word} {getattr(route, 'path', None) or scope.get('path', '/')}"
    for name, value in scope.get("headers") or ():
        if bytes(name).decode("ascii", "replace").lower() in _REQUEST_IDS:
            clues.request_id = bytes(value).decode("ascii", "replace")[:100]


def _native(frames: list[FrameType], clues: Clues) -> None:
    """No request: the outermost function of the user's."""
    for frame in reversed(frames):
        code = frame.f_code
        if owner(code.co_filename) == "user" and code.co_name != "<module>":
            clues.handler = getattr(code, "co_qualname", code.co_name).replace("<locals>.", "")
            return
