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
_NAMESPACES: Final = frozenset({"flask_socketio.Namespace", "socketio.Namespace", "socketio.AsyncNamespace"})


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


def namespaces(module: Module) -> dict[int, ast.ClassDef]:
    """Methods of Socket.IO namespaces, by their ids → their class. Those named `on_…` are handlers."""
    classes = [node for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
    found = [each for each in classes if {module.qualified(base) for base in each.bases} & _NAMESPACES]
    return {id(method): each for each in found for method in functions(each)}


def functions(holder: ast.Module | ast.ClassDef) -> list[Function]:
    """The functions of a module, or the methods of a class."""
    return [each for each in holder.body if isinstance(each, Function)]


def handlers(case: Case) -> Iterator[tuple[Module, Function, bool]]:
    """Views and socket handlers: module, function, whether it is a socket's."""
    for module in case.modules:
        methods = namespaces(module)
        for function in module.functions():
            names = decorators(function, module)
            event = id(function) in methods and function.name.startswith("on_")
            if event or any(name.endswith(SOCKET_DECORATORS) for name in names):
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
    """The calls of a function, and of the module's own functions that it calls, or of its namespace's methods."""
    own = [call for call in module.calls if call.functions and call.functions[-1] is function]
    for call in own:
        yield call
        callee = _callee(call.node.func, function, module)
        if callee is not None and depth and callee.name not in seen:
            yield from _within(module, callee, depth - 1, seen | {callee.name})


def _callee(called: ast.expr, function: Function, module: Module) -> Function | None:
    if isinstance(called, ast.Name):
        return {each.name: each for each in functions(module.tree)}.get(called.id)
    holder, given = namespaces(module).get(id(function)), function.args.args
    if holder is None or not given or not isinstance(called, ast.Attribute) or not isinstance(called.value, ast.Name):
        return None
    return {each.name: each for each in functions(holder)}.get(called.attr) if called.value.id == given[0].arg else None


def _long(call: Call) -> str:
    method = call.name.rpartition(".")[2]
    if call.loops and method in _STATEMENTS and "." in call.name:
        return f"runs {method}() in a loop"
    if call.name in _SLEEPS and call.node.args:
        seconds = getattr(call.node.args[0], "value", None)
        if isinstance(seconds, int | float) and seconds >= 1:
            return f"sleeps {seconds:g} s"
    return ""
