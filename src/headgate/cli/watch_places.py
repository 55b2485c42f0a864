"""The places that blocked, as a table on the terminal."""

from __future__ import annotations

from typing import Final

from rich.console import RenderableType
from rich.text import Text

from headgate.cli.tables import section, table
from headgate.watch.incidents import Groups
from headgate.watch.wording import seconds, short

MOST: Final = 12


def places(groups: Groups, most: int = MOST) -> RenderableType:
    """The costliest places."""
    rows = table("blocked by", "where", "cause", "on", ">times", ">in all", ">longest", wrap="blocked by")
    ranked = groups.ranked()
    for group in ranked[:most]:
        worst = group.worst
        rows.add_row(
            Text(worst.call or worst.function or "?", style="bold"),
            Text(f"{short(worst.file)}:{worst.number}" if worst.file else "–"),
            Text(worst.cause),
            Text(worst.kind),
            str(group.count),
            seconds(group.total),
            seconds(worst.seconds),
        )
    left = len(ranked) - most
    return section(rows, *([Text(f"… and {left} more places", style="dim")] if left > 0 else []))
