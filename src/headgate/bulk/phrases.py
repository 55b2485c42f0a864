"""SQL phrases that a caller may give: `{old}` is the table's value, `{new}` the row's."""

from __future__ import annotations

from collections.abc import Callable

from headgate.bulk.errors import WrongTarget


class _Side:
    """`{old}` is the column being set; `{old.price}` another column of the same row."""

    def __init__(self, column: str, render: Callable[[str], str]) -> None:
        self._column = column
        self._render = render

    def __str__(self) -> str:
        return self._render(self._column)

    def __getattr__(self, name: str) -> str:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._render(name)

    def __format__(self, spec: str) -> str:
        return str(self)


def fill(expression: str, column: str, old: str, new: str, quoted: Callable[[str], str]) -> str:
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


def render(expression: str, column: str, old: Callable[[str], str], new: Callable[[str], str]) -> str:
    """`fill` for dialects that spell a side in a way of their own."""
    try:
        filled = expression.format(old=_Side(column, old), new=_Side(column, new))
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise WrongTarget(
            f"set={{{column!r}: {expression!r}}} cannot be filled ({error}); the places are {{old}}, {{new}}, "
            "{old.column} and {new.column}, and a literal brace is doubled"
        ) from None
    return f"({filled.replace('%', '%%')})"
