"""SQL phrases that a caller may give: `{old}` is the table's value, `{new}` the row's."""

from __future__ import annotations

import re
from collections.abc import Callable
from string import Formatter
from typing import Final

from headgate.bulk.errors import WrongTarget

_PLACE: Final = re.compile(r"(old|new)(?:\.([^.\[\]]+))?")
Render = Callable[[str], str]


def fill(expression: str, column: str, old: str, new: str, quoted: Render) -> str:
    """An expression with its places filled, in brackets.

    Args:
        expression: SQL with `{old}`, `{new}`, `{old.other}` or `{new.other}`; a literal brace is doubled.
        column: the column that the expression sets.
        old, new: what the dialect calls the table's row and the given row.
        quoted: quotes a name.

    Raises:
        WrongTarget: the expression has another place.
    """
    return render(expression, column, lambda name: f"{old}.{quoted(name)}", lambda name: f"{new}.{quoted(name)}")


def render(expression: str, column: str, old: Render, new: Render) -> str:
    """`fill` for dialects that spell a side in a way of their own; a percent sign comes out doubled, for drivers."""
    try:
        parts = list(Formatter().parse(expression))
    except ValueError as error:
        raise _wrong(expression, column, str(error)) from None
    filled = ""
    for text, place, spec, conversion in parts:
        filled += text.replace("%", "%%")
        if place is None:
            continue
        found = _PLACE.fullmatch(place)
        if found is None or spec or conversion:
            raise _wrong(expression, column, f"{{{place}}} is no place")
        filled += (old if found.group(1) == "old" else new)(found.group(2) or column)
    return f"({filled})"


def _wrong(expression: str, column: str, why: str) -> WrongTarget:
    return WrongTarget(
        f"set={{{column!r}: {expression!r}}} cannot be filled ({why}); the places are {{old}}, {{new}}, "
        "{old.column} and {new.column}, and a literal brace is doubled"
    )
