"""Python source by its syntax tree: calls with their qualified names, and where they stand. Nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from headgate.readers.place import Place

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Call:
    """A call as it stands.

    `name` is qualified as far as imports and module-level names tell: `time.sleep`, `flask_socketio.SocketIO().emit`
    for a method of an object that such a call made, and `.execute` for a method of something unknown.
    """

    name: str
    node: ast.Call
    functions: tuple[Function, ...]
    """The functions around it, the outermost first."""
    loops: int
    """The loops around it within its function."""
    awaited: bool

    @property
    def at_import(self) -> bool:
        return not self.functions

    @property
    def in_async(self) -> bool:
        return bool(self.functions) and isinstance(self.functions[-1], ast.AsyncFunctionDef)

    def keyword(self, name: str) -> ast.expr | None:
        return next((each.value for each in self.node.keywords if each.arg == name), None)


@dataclass
class Module:
    """A Python file."""

    path: Path
    shown: str
    tree: ast.Module
    lines: list[str]
    names: dict[str, str] = field(default_factory=dict)
    """Local name → qualified name."""
    calls: list[Call] = field(default_factory=list)
    imports: list[tuple[str, ast.stmt, bool]] = field(default_factory=list)
    """Qualified name, statement, whether it stands at the module's top level."""
    within: dict[int, tuple[Function, ...]] = field(default_factory=dict)
    """Function, by its id → the functions around it, the outermost first."""

    def place(self, node: ast.AST) -> Place:
        line = getattr(node, "lineno", 0)
        return Place(self.shown, line, self.lines[line - 1].strip() if 0 < line <= len(self.lines) else "")

    def uses(self, *packages: str) -> bool:
        """Whether it imports one of the packages."""
        return any(name.split(".")[0] in packages for name, _, _ in self.imports)

    def called(self, *names: str) -> Iterator[Call]:
        """The calls by one of the names."""
        return (call for call in self.calls if call.name in names)

    def functions(self) -> Iterator[Function]:
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))

    def qualified(self, node: ast.expr) -> str:
        """The qualified name of an expression; empty for what has none."""
        return _qualified(node, self.names)

    def around(self, function: Function) -> tuple[Function, ...]:
        """The functions around one, the outermost first."""
        return self.within.get(id(function), ())


def read(path: Path, shown: str) -> Module | None:
    """Read a file; None when it is not Python 3."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        tree = ast.parse(text)
    except (SyntaxError, ValueError, OSError, RecursionError):
        return None
    module = Module(path, shown, tree, text.splitlines())
    _bind(module)
    _Walk(module).visit(tree)
    return module


def literal(node: ast.expr | None) -> object:
    """A constant's value; None for what is no constant."""
    try:
        return ast.literal_eval(node) if node is not None else None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def decorators(function: Function, module: Module) -> list[str]:
    """Qualified names of a function's decorators, without their arguments; in an app's factory by its own names."""
    names = module.names
    for outer in module.around(function):
        names = dict(names)
        for argument in (*outer.args.posonlyargs, *outer.args.args, *outer.args.kwonlyargs):
            if made := argument.annotation and _qualified(argument.annotation, names):
                names[argument.arg] = f"{made}()"
        _made(outer.body, names)
    return [_qualified(each.func if isinstance(each, ast.Call) else each, names) for each in function.decorator_list]


def _bind(module: Module) -> None:
    """Names from imports first, then from module-level assignments of calls, in their order."""
    top = set(map(id, module.tree.body))
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                module.names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
                module.imports.append((alias.name, node, id(node) in top))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                module.names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                module.imports.append((f"{node.module}.{alias.name}", node, id(node) in top))
    _made(module.tree.body, module.names)


def _made(body: list[ast.stmt], names: dict[str, str]) -> None:
    """Add the names that a body gives to what calls make."""
    for statement in body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
            made = _qualified(statement.value, names)
            for target in statement.targets:
                if made and isinstance(target, ast.Name):
                    names[target.id] = made


def _qualified(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        holder = _qualified(node.value, names)
        known = holder.split(".")[0].rstrip("()") in {name.split(".")[0] for name in names.values()}
        return f"{holder}.{node.attr}" if holder and known else f".{node.attr}"
    if isinstance(node, ast.Call):
        called = _qualified(node.func, names)
        return f"{called}()" if called else ""
    return ""


class _Walk(ast.NodeVisitor):
    def __init__(self, module: Module) -> None:
        self._module = module
        self._functions: list[Function] = []
        self._loops = [0]
        self._awaited: set[int] = set()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def _function(self, node: Function) -> None:
        for decorator in node.decorator_list:
            self.visit(decorator)
        self._module.within[id(node)] = tuple(self._functions)
        self._functions.append(node)
        self._loops.append(0)
        for statement in node.body:
            self.visit(statement)
        self._loops.pop()
        self._functions.pop()

    def visit_For(self, node: ast.For) -> None:
        self._loop(node)

    def visit_While(self, node: ast.While) -> None:
        self._loop(node)

    def _loop(self, node: ast.For | ast.While) -> None:
        self.visit(node.iter if isinstance(node, ast.For) else node.test)
        self._loops[-1] += 1
        for statement in (*node.body, *node.orelse):
            self.visit(statement)
        self._loops[-1] -= 1

    def visit_If(self, node: ast.If) -> None:
        # What only a script does is not done by a server's import.
        if not (not self._functions and "__name__" in ast.dump(node.test) and "__main__" in ast.dump(node.test)):
            self.generic_visit(node)

    def visit_Await(self, node: ast.Await) -> None:
        self._awaited.add(id(node.value))
        self.generic_visit(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Runs later and elsewhere: what it calls is not a call of the function around it."""

    def visit_Call(self, node: ast.Call) -> None:
        name = self._module.qualified(node.func)
        self._module.calls.append(Call(name, node, tuple(self._functions), self._loops[-1], id(node) in self._awaited))
        self.generic_visit(node)
