"""The name of the call that a frame is in, also when it is C code that has no frame of its own.

From the position of the instruction, where the frame was seen alive (`sorted(rows)` in a line of three calls); from
the source line alone, where only its number is known.
"""

from __future__ import annotations

import builtins
import linecache
from collections.abc import Mapping
from functools import lru_cache
from types import CodeType, FrameType, ModuleType
from typing import Any, Final

from headgate.watch import expressions
from headgate.watch.expressions import Expression
from headgate.watch.stacks import Frame, Stack, module, owner

LONGEST: Final = 60
"""Characters kept of an expression."""


def callee(stack: Stack, index: int) -> str:
    """The name of what the frame at `index` has called, from the frame inside it; "" if that is C code."""
    if index == 0:
        return ""
    inner = stack[index - 1]
    return f"{module(inner.file)}.{inner.function}"


def expression(code: CodeType, lasti: int) -> Expression | None:
    """The expression that an instruction belongs to (PEP 657), or None when the source is not there."""
    positions = getattr(code, "co_positions", None)
    if positions is None:
        return None
    for number, (line, last, column, end) in enumerate(positions()):
        if number == lasti // 2:
            if None in (line, last, column, end):
                return None
            return expressions.read(_segment(code.co_filename, line, last, column, end))
    return None


def on_line(frame: Frame) -> Expression | None:
    """The outermost call of a source line, or its value when it calls nothing."""
    return expressions.on_line(linecache.getline(frame.file, frame.line).strip())


def spelled(found: Expression | None) -> str:
    """An expression as a short name: the function for a call, else the expression itself."""
    if found is None:
        return ""
    text = found.function or found.text
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def resolved(found: Expression | None, frame: FrameType) -> str:
    """The name with the type of its object in it: `re.Pattern.match` for `pattern.match(text)`.

    Looks values up, and never runs code of theirs: no properties, no `__getattr__`.
    """
    if found is None:
        return ""
    target = found.function or found.text
    *before, name = expressions.path(target) or ("",)
    if not before:
        return (name and _function(_lookup(name, frame))) or _entered(found, frame)
    holder = value_of(".".join(before), frame)
    if isinstance(holder, ModuleType):
        return f"{holder.__name__}.{name}"
    if holder is not None:
        kind = holder if isinstance(holder, type) else type(holder)
        return f"{kind.__module__.removeprefix('builtins.')}.{kind.__qualname__}.{name}".removeprefix("builtins.")
    return _entered(found, frame)


def _entered(found: Expression, frame: FrameType) -> str:
    """What a `with` enters, whose instruction is at the manager's name; else the expression as it is written."""
    holder = None if found.function else value_of(found.text, frame)
    if holder is not None and hasattr(type(holder), "__exit__"):
        return f"{type(holder).__module__}.{type(holder).__qualname__}.__enter__"
    return spelled(found)


def value_of(text: str, frame: FrameType) -> Any:
    """The value of a text, a variable, or an attribute that lies in an instance's or a module's dictionary."""
    found = expressions.literal(text)
    if found is not None:
        return found
    first, *rest = expressions.path(text) or ("",)
    value = expressions.literal(first) if not first.isidentifier() else _lookup(first, frame)
    for name in rest:
        try:
            held = object.__getattribute__(value, "__dict__")
        except AttributeError:
            return None
        value = held.get(name) if isinstance(held, Mapping) else None
    return value


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
