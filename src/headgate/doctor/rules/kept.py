"""What an app keeps in a process's memory between the calls of its handlers, and where the handlers use it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from headgate.doctor.rules.work import SOCKET_DECORATORS, VIEW_DECORATORS, functions, namespaces
from headgate.readers.python import Function, Module, decorators, literal

Use = ast.Name | ast.Attribute
_SOCKETS: Final = (*SOCKET_DECORATORS, "Headgate().socket")
_MADE_BY: Final = (
    *("set", "dict", "list"),
    *(f"collections.{kind}" for kind in ("defaultdict", "deque", "OrderedDict", "Counter")),
    *(f"weakref.{kind}" for kind in ("WeakSet", "WeakValueDictionary", "WeakKeyDictionary")),
)
_MADE_AS: Final = (ast.Set, ast.Dict, ast.List, ast.SetComp, ast.DictComp, ast.ListComp)
_DEPTH: Final = 3
"""Calls that are followed from a handler."""


@dataclass(frozen=True)
class Kept:
    """A container or a number that outlives a handler's call.

    Args:
        name: what it is called within its holder.
        holder: the module, the factory with the handlers in it, or the Socket.IO namespace that has it.
        made: the statement that makes it.
        number: whether it is a number, which may be a counter.
    """

    name: str
    holder: ast.Module | Function | ast.ClassDef
    made: ast.stmt
    number: bool

    @property
    def shown(self) -> str:
        return f"{self.holder.name}.{self.name}" if isinstance(self.holder, ast.ClassDef) else self.name


@dataclass(frozen=True)
class Handler:
    """A view, or a handler of a socket."""

    function: Function
    socket: bool


class Memory:
    """A module's handlers, and what they can share."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self._methods = namespaces(module)
        self.handlers = list(self._handlers())
        self._reached = {id(each.function): self._reach(each.function) for each in self.handlers}

    def kept(self) -> Iterator[Kept]:
        """What the module, factories with handlers in them, and Socket.IO namespaces keep."""
        own = {id(each.function) for each in self.handlers}
        outer = {id(each): each for handler in self.handlers for each in self._module.around(handler.function)}
        factories = [each for each in outer.values() if id(each) not in own]
        for holder in (self._module.tree, *factories, *dict.fromkeys(self._methods.values())):
            for name, made, value in _assigned(holder):
                number = type(literal(value)) in (int, float)
                if number or self._is_container(value):
                    yield Kept(name, holder, made, number)

    def uses(self, kept: Kept, handler: Handler) -> list[Use]:
        """Where a handler, or what it calls or starts of the module's own, names it."""
        reached = self._reached[id(handler.function)]
        if isinstance(kept.holder, ast.ClassDef):
            return [use for function in reached for use in self._of_class(kept, kept.holder, function)]
        return [use for function in reached if self._sees(kept, function) for use in _named(kept.name, function)]

    def _handlers(self) -> Iterator[Handler]:
        for function in self._module.functions():
            names = decorators(function, self._module)
            event = id(function) in self._methods and function.name.startswith("on_")
            if event or any(name.endswith(_SOCKETS) for name in names):
                yield Handler(function, socket=True)
            elif any(name.endswith(VIEW_DECORATORS) for name in names):
                yield Handler(function, socket=False)

    def _is_container(self, value: ast.expr | None) -> bool:
        if isinstance(value, ast.Call):
            return self._module.qualified(value.func) in _MADE_BY
        return isinstance(value, _MADE_AS)

    def _reach(self, start: Function) -> list[Function]:
        """The function, the functions in it, and those of the module's own that they name."""
        found, waiting = {id(start): start}, [(start, _DEPTH)]
        while waiting:
            function, depth = waiting.pop(0)
            inner = [(each, depth) for each in own(function) if isinstance(each, Function)]
            named = [(each, depth - 1) for each in self._names(function)] if depth else []
            for each, left in (*inner, *named):
                if id(each) not in found:
                    found[id(each)] = each
                    waiting.append((each, left))
        return list(found.values())

    def _names(self, function: Function) -> Iterator[Function]:
        chain = (*self._module.around(function), function)
        local = {each.name: each for each in functions(self._module.tree)}
        for outer in chain:
            local |= {each.name: each for each in own(outer) if isinstance(each, Function)}
        selves = self._selves(chain)
        for node in own(function):
            if isinstance(node, ast.Name) and node.id in local:
                yield local[node.id]
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in selves:
                yield from (each for each in functions(selves[node.value.id]) if each.name == node.attr)

    def _selves(self, chain: tuple[Function, ...]) -> dict[str, ast.ClassDef]:
        """What a namespace is called in its methods, and in what is in them."""
        methods = [each for each in chain if id(each) in self._methods and each.args.args]
        return {each.args.args[0].arg: self._methods[id(each)] for each in methods}

    def _of_class(self, kept: Kept, holder: ast.ClassDef, function: Function) -> Iterator[Use]:
        """`self.users` in a namespace's methods, `Chat.users` everywhere."""
        selves = {**self._selves((*self._module.around(function), function)), holder.name: holder}
        for node in own(function):
            if isinstance(node, ast.Attribute) and node.attr == kept.name and isinstance(node.value, ast.Name):
                yield from [node] if selves.get(node.value.id) is holder else []

    def _sees(self, kept: Kept, function: Function) -> bool:
        """Whether the name is the kept one there, by Python's rules for scopes."""
        chain = (*self._module.around(function), function)
        if isinstance(kept.holder, Function):
            if kept.holder not in chain:
                return False
            chain = chain[chain.index(kept.holder) + 1 :]
        for each in reversed(chain):
            binding = _binding(kept.name, each)
            if binding is not _Binding.OUTER:
                return binding is _Binding.MODULE and isinstance(kept.holder, ast.Module)
        return True


def own(function: Function) -> Iterator[ast.AST]:
    """The nodes of a function; functions and classes in it without what is in them."""
    waiting: list[ast.AST] = list(reversed(function.body))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, Function | ast.ClassDef):
            waiting += reversed(list(ast.iter_child_nodes(node)))


class _Binding(Enum):
    OWN = 1
    OUTER = 2
    MODULE = 3


def _binding(name: str, function: Function) -> _Binding:
    """Whose a name is in a function."""
    given = function.args
    arguments = (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg)
    if any(each is not None and each.arg == name for each in arguments):
        return _Binding.OWN
    found, added = _Binding.OUTER, set()
    for node in own(function):
        if isinstance(node, ast.Global) and name in node.names:
            return _Binding.MODULE
        if isinstance(node, ast.Nonlocal) and name in node.names:
            return _Binding.OUTER
        if isinstance(node, ast.AugAssign):
            # Without a value of its own it would fail at once: the outer one is meant.
            added.add(id(node.target))
        elif isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Load):
            found = found if id(node) in added else _Binding.OWN
        elif name == _called(node):
            found = _Binding.OWN
    return found


def _called(node: ast.AST) -> str | None:
    """The name that a definition, an import or an exception gives."""
    if isinstance(node, ast.alias):
        return node.asname or node.name.split(".")[0]
    return node.name if isinstance(node, Function | ast.ClassDef | ast.ExceptHandler) else None


def _named(name: str, function: Function) -> list[Use]:
    return [node for node in own(function) if isinstance(node, ast.Name) and node.id == name]


def _assigned(holder: ast.Module | Function | ast.ClassDef) -> Iterator[tuple[str, ast.stmt, ast.expr | None]]:
    """The names that a body is given at its top level; a class's also in `__init__`, since a namespace is made once."""
    bodies = [holder.body]
    if isinstance(holder, ast.ClassDef):
        bodies += [each.body for each in functions(holder) if each.name == "__init__"]
    found: dict[str, tuple[str, ast.stmt, ast.expr | None]] = {}
    for body in bodies:
        for statement in body:
            if isinstance(statement, ast.Assign | ast.AnnAssign):
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                for name in (_target(target, body is not holder.body) for target in targets):
                    found[name] = (name, statement, statement.value)
    found.pop("", None)
    yield from found.values()


def _target(target: ast.expr, of_self: bool) -> str:
    if of_self and isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
        return target.attr
    return target.id if isinstance(target, ast.Name) and not of_self else ""
