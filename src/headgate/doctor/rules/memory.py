"""Rules on what an app keeps in its process's memory."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from headgate.doctor.case import Case
from headgate.doctor.model import Finding, Severity
from headgate.doctor.rules.kept import Handler, Kept, Memory, Use
from headgate.doctor.rules.registry import rule

Parents = dict[int, ast.AST]
"""Node, by its id → the node around it."""
Used = list[tuple[Handler, list[Use]]]
"""The handlers that use something, and where."""
_CHANGES: Final = frozenset(
    {
        *("add", "append", "appendleft", "clear", "difference_update", "discard", "extend", "extendleft", "insert"),
        *("intersection_update", "pop", "popitem", "popleft", "remove", "setdefault", "subtract", "update"),
    }
)


@rule(
    "shared-in-memory",
    "Handlers share what lies in a process's memory",
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
        memory = Memory(module)
        parents = {id(child): node for node in ast.walk(module.tree) for child in ast.iter_child_nodes(node)}
        for kept in memory.kept() if memory.handlers else ():
            uses = [(handler, memory.uses(kept, handler)) for handler in memory.handlers]
            used = [(handler, nodes) for handler, nodes in uses if nodes]
            found = _counted(kept, used, parents) if kept.number else _shared(kept, used, parents)
            if found is not None:
                told, nodes = found
                places = (module.place(kept.made), *map(module.place, nodes))
                message = f"{kept.shown} in {module.shown} is {told}"
                yield Finding("shared-in-memory", message, tuple(dict.fromkeys(places)))


def _shared(kept: Kept, used: Used, parents: Parents) -> tuple[str, list[Use]] | None:
    """What is wrong with a container that is used so, and where; None for nothing."""
    changed = any(_changes(node, parents) for _, nodes in used for node in nodes)
    # Sockets of one handler are many: what it keeps of each, and goes through, is shared as well.
    alone = len(used) == 1 and any(_goes_through(node, parents) for node in used[0][1])
    if not (changed and any(handler.socket for handler, _ in used) and (len(used) > 1 or alone)):
        return None
    by = "all sockets of " if alone else ""
    return f"shared by {by}{_names(used)}", [nodes[0] for _, nodes in used]


def _counted(kept: Kept, used: Used, parents: Parents) -> tuple[str, list[Use]] | None:
    """The same for a number, which one handler alone can count wrongly: its calls come to all processes."""
    counting = [(handler, [node for node in nodes if _counts(node, parents)]) for handler, nodes in used]
    counting = [(handler, nodes) for handler, nodes in counting if nodes]
    return (f"counted by {_names(counting)}", [nodes[0] for _, nodes in counting]) if counting else None


def _names(used: Used) -> str:
    names = " and ".join(f"{handler.function.name}()" for handler, _ in used[:2])
    return names + (f" and {len(used) - 2} more" if len(used) > 2 else "")


def _around(name: Use, parents: Parents) -> list[ast.AST]:
    """The nodes around a name, the innermost first, as far as its statement."""
    found: list[ast.AST] = []
    node: ast.AST = name
    while (outer := parents.get(id(node))) is not None:
        found.append(outer)
        if isinstance(outer, ast.stmt):
            break
        node = outer
    return found


def _changes(name: Use, parents: Parents) -> bool:
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


def _goes_through(name: Use, parents: Parents) -> bool:
    """Whether a loop goes through the container there."""
    around = _around(name, parents)
    child: ast.AST = name
    for node in around:
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension) and node.iter is child:
            return True
        child = node
    return False


def _counts(name: Use, parents: Parents) -> bool:
    """Whether it is counted up or down there: `n += 1`, `n = n + 1`."""
    statement = parents.get(id(name))
    if isinstance(statement, ast.AugAssign):
        return statement.target is name and isinstance(statement.op, ast.Add | ast.Sub)
    if isinstance(statement, ast.Assign) and name in statement.targets and isinstance(statement.value, ast.BinOp):
        words = (statement.value.left, statement.value.right)
        same = any(ast.unparse(each) == ast.unparse(name) for each in words)
        return same and isinstance(statement.value.op, ast.Add | ast.Sub)
    return False
