"""The part of `headgate status` that tells of database pools: their use, and the statements to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from headgate.cli.console import ago
from headgate.cli.tables import section, table

Facts = Mapping[str, Any]

_MOST: Final = 5
"""Statements shown; `--json` has more."""


def pools(status: Facts) -> RenderableType | None:
    """All processes' pools by name, added up, and the worst statements of all; None where there is no pool."""
    told = list(_told(status))
    if not told:
        return None
    rows = table("pool", ">processes", ">connections", ">in use", ">timeouts", ">wait p99", ">statements")
    for name in dict.fromkeys(name for name, _ in told):
        same = [facts for each, facts in told if each == name]
        wait = max((facts.get("wait_p99_ms") or 0.0 for facts in same), default=0.0)
        rows.add_row(
            name,
            str(len(same)),
            *(str(sum(facts.get(key) or 0 for facts in same)) for key in ("size", "in_use", "timeouts")),
            ago(wait / 1_000) if wait else "–",
            str(sum(facts.get("statements") or 0 for facts in same)),
        )
    parts = [section(rows)]
    remarks = [*_worst(told, "slow", "seconds"), *_worst(told, "repeated", "in_one")]
    if remarks:
        look = table("statement", ">times", "what", "handler", wrap="statement")
        for kind, finding in remarks:
            what = f"slow: {ago(finding['seconds'])}" if kind == "slow" else f"{finding['in_one']} × in one: N+1?"
            look.add_row(Text(finding["statement"]), str(finding["times"]), what, Text(finding["handler"]))
        parts.append(section(look))
    return Group(*parts)


def _told(status: Facts) -> Iterator[tuple[str, Facts]]:
    for process in status["processes"]:
        yield from ((process.get("stats") or {}).get("pools") or {}).items()


def _worst(told: list[tuple[str, Facts]], kind: str, measure: str) -> list[tuple[str, Facts]]:
    """The worst findings of a kind: one for each statement and handler, whatever process saw it."""
    worst: dict[tuple[str, str], dict[str, Any]] = {}
    for _, facts in told:
        for finding in facts.get(kind) or ():
            key = (finding["handler"], finding["statement"])
            known = worst.setdefault(key, {**finding, "times": 0})
            known["times"] += finding["times"]
            known[measure] = max(known[measure], finding[measure])
    return [(kind, each) for each in sorted(worst.values(), key=lambda each: -each[measure])[:_MOST]]
