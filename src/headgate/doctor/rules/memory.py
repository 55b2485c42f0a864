"""Rules on what an app keeps in its process's memory."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from headgate.doctor.case import Case
from headgate.doctor.model import Finding, Severity
from headgate.doctor.rules.registry import rule
from headgate.doctor.rules.work import SOCKET_DECORATORS, VIEW_DECORATORS
from headgate.readers.python import Function, Module, decorators

Parents = dict[int, ast.AST]
"""Node, by its id → the node around it."""
_SOCKETS: Final = (*SOCKET_DECORATORS, "Headgate().socket")
_MADE_BY: Final = (
    *("set", "dict", "list"),
    *(f"collections.{kind}" for kind in ("defaultdict", "deque", "OrderedDict", "Counter")),
    *(f"weakref.{kind}" for kind in ("WeakSet", "WeakValueDictionary", "WeakKeyDictionary")),
)
_MADE_AS: Final = (ast.Set, ast.Dict, ast.List, ast.SetComp, ast.DictComp, ast.ListComp)
_CHANGES: Final = frozenset(
    {
        *("add", "append", "appendleft", "clear", "difference_update", "discard", "extend", "extendleft", "insert"),
        *("intersection_update", "pop", "popitem", "popleft", "remove", "setdefault", "subtract", "update"),
    }
)


@rule(
    "shared-in-memory",
    "A module's container is shared by handlers",
    Severity.WARNING,
    why="handlers run in several processes, under Headgate and under any server with more than one worker: each "
    "process has a container of its own, so a message reaches some of the sockets, and a count is one of several.",
    fix="Send to many by `gate.publish` and channels (Socket.IO: rooms), and keep what all must see in the database; "
    "or run one process: `--workers 1`, and `lanes = false` in headgate.toml.",
    source="docs/how-to/run-an-existing-app.md",
    rank=14,
)
def shared_in_memory(case: Case) -> Iterator[Finding]:
    for module in case.modules:
        containers = _containers(module)
        if not containers:
            continue
        handlers = _handlers(module)
        parents = {id(child): node for node in ast.walk(module.tree) for child in ast.iter_child_nodes(node)}
        for name, made in containers.items():
            uses = [(handler, socket, _uses(name, handler, module)) for handler, socket in handlers]
            used = [(handler, socket, nodes) for handler, socket, nodes in uses if nodes]
            changed = any(_changes(node, parents) for _, _, nodes in used for node in nodes)
            # Sockets of one handler are many: what it keeps of each, and goes through, is shared as well.
            alone = len(used) == 1 and any(_goes_through(node, parents) for node in used[0][2])
            if changed and any(socket for _, socket, _ in used) and (len(used) > 1 or alone):
                names = " and ".join(f"{handler.name}()" for handler, _, _ in used[:2])
                more = f" and {len(used) - 2} more" if len(used) > 2 else ""
                places = (module.place(made), *(module.place(nodes[0]) for _, _, nodes in used))
                message = f"{name} in {module.shown} is shared by {names}{more}"
                if alone:
                    message = f"{name} in {module.shown} is shared by all sockets of {names}"
                yield Finding("shared-in-memory", message, tuple(dict.fromkeys(places)))


def _containers(module: Module) -> dict[str, ast.stmt]:
    """The sets, dicts and lists that are made at a module's top level."""
    found: dict[str, ast.stmt] = {}
    for statement in module.tree.body:
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        else:
            continue
        value = statement.value
        made = isinstance(value, _MADE_AS) or (isinstance(value, ast.Call) and module.qualified(value.func) in _MADE_BY)
        for target in targets if made else ():
            if isinstance(target, ast.Name):
                found[target.id] = statement
    return found


def _handlers(module: Module) -> list[tuple[Function, bool]]:
    """The module's handlers, and whether each is a socket's."""
    found = []
    for function in module.functions():
        names = decorators(function, module)
        socket = any(name.endswith(_SOCKETS) for name in names)
        if socket or any(name.endswith(VIEW_DECORATORS) for name in names):
            found.append((function, socket))
    return found


def _uses(
    name: str, function: Function, module: Module, depth: int = 3, seen: frozenset[str] = frozenset()
) -> list[ast.Name]:
    """Where a function, or what it calls or starts of the module's own, names the container."""
    inside = [node for statement in function.body for node in ast.walk(statement)]
    found = [] if _hides(name, function, inside) else [n for n in inside if isinstance(n, ast.Name) and n.id == name]
    local = {each.name: each for each in module.tree.body if isinstance(each, Function)}
    for word in dict.fromkeys(node.id for node in inside if isinstance(node, ast.Name)):
        if word in local and word not in seen and local[word] is not function and depth:
            found += _uses(name, local[word], module, depth - 1, seen | {word})
    return found


def _hides(name: str, function: Function, inside: list[ast.AST]) -> bool:
    """Whether the name is the function's own: an argument, or assigned to without `global`."""
    given = function.args
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    if any(each is not None and each.arg == name for each in arguments):
        return True
    own = any(isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store) for node in inside)
    return own and not any(isinstance(node, ast.Global) and name in node.names for node in inside)


def _around(name: ast.Name, parents: Parents) -> list[ast.AST]:
    """The nodes around a name, the innermost first, as far as its statement."""
    found: list[ast.AST] = []
    node: ast.AST = name
    while (outer := parents.get(id(node))) is not None:
        found.append(outer)
        if isinstance(outer, ast.stmt):
            break
        node = outer
    return found


def _changes(name: ast.Name, parents: Parents) -> bool:
    """Whether the container is changed there."""
    if isinstance(name.ctx, ast.Store | ast.Del):
        return True
    around = _around(name, parents)
    inner = around[0] if around else None
    if isinstance(inner, ast.Attribute):
        return inner.attr in _CHANGES and len(around) > 1 and isinstance(around[1], ast.Call)
    if isinstance(inner, ast.Subscript) and inner.value is name:
        return isinstance(inner.ctx, ast.Store | ast.Del) or (
            # An element that is a container itself: `rooms[name].add(ws)`.
            len(around) > 2
            and isinstance(around[1], ast.Attribute)
            and around[1].attr in _CHANGES
            and isinstance(around[2], ast.Call)
        )
    return False


def _goes_through(name: ast.Name, parents: Parents) -> bool:
    """Whether a loop goes through the container there."""
    around = _around(name, parents)
    child: ast.AST = name
    for node in around:
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension) and node.iter is child:
            return True
        child = node
    return False
