"""Tables and sections of the views that a command draws."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text


def table(*columns: str, wrap: str = "why") -> Table:
    """A table without lines; a column whose name begins with `>` is set to the right; `wrap` may take several rows."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        made.add_column(
            column.lstrip(">"), justify="right" if column.startswith(">") else "left", no_wrap=column != wrap
        )
    return made


def section(table: Table, *more: RenderableType) -> RenderableType:
    """A table as a section: when there is too little room, only its last column gives way."""
    for column in list(table.columns)[:-1]:
        cells = [cell if isinstance(cell, Text) else Text.from_markup(str(cell)) for cell in column.cells]
        column.min_width = max(cell.cell_len for cell in [Text(str(column.header)), *cells])
    return Padding(Group(table, *more), (1, 0, 0, 2), expand=False)
