"""The name of the call that a frame is in, also when it is C code that has no frame of its own.

From the position of the instruction, where the frame was seen alive (`sorted(rows)` in a line of three calls); from
the source line alone, where only its number is known.
"""

from __future__ import annotations

import ast
import builtins
import linecache
from collections.abc import Mapping
from functools import lru_cache
from types import CodeType, FrameType, ModuleType
from typing import Any, Final

from headgate.watch.stacks import Frame, Stack, module, owner

LONGEST: Final = 60
"""Characters kept of an expression."""


def callee(stack: Stack, index: int) -> str:
    """The name of what the frame at `index` has called, from the frame inside it; "" if that is C code."""
    if index == 0:
        return ""
    inner = stack[index - 1]
    return f"{module(inner.file)}.{inner.function}"


def expression(code: CodeType, lasti: int) -> ast.expr | None:
    """The expression that an instruction belongs to (PEP 657), or None when the source is not there."""
    positions = getattr(code, "co_positions", None)
    if positions is None:
        return None
    for number, (line, last, column, end) in enumerate(positions()):
        if number == lasti // 2:
            if None in (line, last, column, end):
                return None
            return _parsed(_segment(code.co_filename, line, last, column, end))
    return None


def on_line(frame: Frame) -> ast.expr | None:
    """The outermost call of a source line, or its value when it calls nothing."""
    text = linecache.getline(frame.file, frame.line).strip()
    tree = _statement(text)
    if tree is None:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            return node
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp | ast.comprehension | ast.GeneratorExp | ast.ListComp):
            return node if isinstance(node, ast.expr) else None
    return None


def spelled(node: ast.expr | None) -> str:
    """An expression as a short name: the function for a call, else the expression itself."""
    if node is None:
        return ""
    if isinstance(node, ast.Await):
        return spelled(node.value)
    text = ast.unparse(node.func if isinstance(node, ast.Call) else node)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def resolved(node: ast.expr | None, frame: FrameType) -> str:
    """The name with the type of its object in it: `re.Pattern.match` for `pattern.match(text)`.

    Looks values up, and never runs code of theirs: no properties, no `__getattr__`.
    """
    if isinstance(node, ast.Await):
        return resolved(node.value, frame)
    target = node.func if isinstance(node, ast.Call) else node
    if isinstance(target, ast.Name):
        return _function(_lookup(target.id, frame)) or spelled(node)
    if isinstance(target, ast.Attribute):
        holder = value_of(target.value, frame)
        if isinstance(holder, ModuleType):
            return f"{holder.__name__}.{target.attr}"
        if holder is not None:
            kind = holder if isinstance(holder, type) else type(holder)
            return f"{kind.__module__.removeprefix('builtins.')}.{kind.__qualname__}.{target.attr}".removeprefix(
                "builtins."
            )
    if not isinstance(node, ast.Call) and target is not None:
        holder = value_of(target, frame)
        if holder is not None and hasattr(type(holder), "__exit__"):  # the instruction of a `with`
            return f"{type(holder).__module__}.{type(holder).__qualname__}.__enter__"
    return spelled(node)


def value_of(node: ast.expr, frame: FrameType) -> Any:
    """The value of a constant, a variable, or an attribute that lies in an instance's or a module's dictionary."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.JoinedStr):  # an f-string: its text, the values left as they are written
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
            for part in node.values
            if isinstance(part, ast.Constant | ast.FormattedValue)
        )
    if isinstance(node, ast.Name):
        return _lookup(node.id, frame)
    if isinstance(node, ast.Attribute):
        holder = value_of(node.value, frame)
        try:
            held = object.__getattribute__(holder, "__dict__")
        except AttributeError:
            return None
        return held.get(node.attr) if isinstance(held, Mapping) else None
    return None


def _lookup(name: str, frame: FrameType) -> Any:
    for space in (frame.f_locals, frame.f_globals):
        if name in space:
            return space[name]
    return getattr(builtins, name, None)


def _function(value: Any) -> str:
    if value is None:
        return ""
    name = getattr(value, "__qualname__", "") if callable(value) else ""
    home = getattr(value, "__module__", "") or ""
    if not isinstance(name, str) or not name or not isinstance(home, str):
        return ""
    return name if home in ("builtins", "", "__main__") else f"{home}.{name}"


def is_user(frame: Frame) -> bool:
    """Whether a frame is the user's own code."""
    return owner(frame.file) == "user"


@lru_cache(maxsize=256)
def _segment(file: str, line: int, last: int, column: int, end: int) -> str:
    lines = [linecache.getline(file, number) for number in range(line, min(last, line + 30) + 1)]
    if not lines or not lines[0]:
        return ""
    data = [text.encode() for text in lines]
    if line == last:
        return data[0][column:end].decode("utf-8", "replace")
    data[0], data[-1] = data[0][column:], data[-1][:end]
    return b"".join(data).decode("utf-8", "replace")


@lru_cache(maxsize=256)
def _parsed(text: str) -> ast.expr | None:
    try:
        return ast.parse(f"({text})" if text else "", mode="eval").body
    except (SyntaxError, ValueError):
        return None


@lru_cache(maxsize=256)
def _statement(text: str) -> ast.AST | None:
    for candidate in (text, f"{text} pass", f"{text}\n pass", text.rstrip("([{,")):
        try:
            return ast.parse(candidate)
        except (SyntaxError, ValueError):
            continue
    return None
