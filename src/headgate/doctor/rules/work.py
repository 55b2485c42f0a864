"""Long work inside handlers, found by the syntax tree: what several rules ask for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from headgate.doctor.case import Case
from headgate.doctor.model import Place
from headgate.readers.python import Call, Function, Module, decorators

_STATEMENTS: Final = frozenset({"execute", "executemany", "commit", "flush", "save", "update_one", "insert_one"})
_SLEEPS: Final = frozenset({"time.sleep"})
SOCKET_DECORATORS: Final = ("Sock().route", "SocketIO().on", "SocketIO().event", "SocketIO().on_event", "Server().on")
VIEW_DECORATORS: Final = (
    *(f"{holder}().{verb}" for holder in ("Flask", "Blueprint") for verb in ("route", "get", "post", "put", "patch")),
    *(f"{holder}().{verb}" for holder in ("Flask", "Blueprint") for verb in ("delete", "before_request")),
)


@dataclass(frozen=True)
class Work:
    """Long work that a handler does."""

    handler: Function
    module: Module
    place: Place
    """The statement that does it."""
    what: str
    socket: bool
    """Whether the handler is a socket's."""


def handlers(case: Case) -> Iterator[tuple[Module, Function, bool]]:
    """Views and socket handlers: module, function, whether it is a socket's."""
    for module in case.modules:
        for function in module.functions():
            names = decorators(function, module)
            if any(name.endswith(SOCKET_DECORATORS) for name in names):
                yield module, function, True
            elif any(name.endswith(VIEW_DECORATORS) for name in names):
                yield module, function, False


def long_work(case: Case, sockets_only: bool = False) -> Iterator[Work]:
    """Database statements in a loop, and sleeps of a second or more, in a handler or in what it calls."""
    for module, handler, socket in handlers(case):
        if sockets_only and not socket:
            continue
        for call in _within(module, handler):
            what = _long(call)
            if what:
                text = f"{handler.name}() in {module.shown} {what}"
                yield Work(handler, module, module.place(call.node), text, socket)
                break


def _within(module: Module, function: Function, depth: int = 3, seen: frozenset[str] = frozenset()) -> Iterator[Call]:
    """The calls of a function, and of the module's own functions that it calls."""
    local = {each.name: each for each in module.tree.body if isinstance(each, Function)}
    own = [call for call in module.calls if call.functions and call.functions[-1] is function]
    for call in own:
        yield call
        name = call.node.func.id if isinstance(call.node.func, ast.Name) else ""
        if name in local and depth and name not in seen:
            yield from _within(module, local[name], depth - 1, seen | {name})


def _long(call: Call) -> str:
    method = call.name.rpartition(".")[2]
    if call.loops and method in _STATEMENTS and "." in call.name:
        return f"runs {method}() in a loop"
    if call.name in _SLEEPS and call.node.args:
        seconds = getattr(call.node.args[0], "value", None)
        if isinstance(seconds, int | float) and seconds >= 1:
            return f"sleeps {seconds:g} s"
    return ""
