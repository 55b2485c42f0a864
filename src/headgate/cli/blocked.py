"""The parts of `headgate status` that tell what blocks: the places so far, and what handlers are at now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from headgate.cli.console import ago
from headgate.cli.tables import section, table

Facts = Mapping[str, Any]

_MOST: Final = 5


def blocked(status: Facts) -> RenderableType | None:
    """The costliest places of all processes, and where the watch sees less than it should."""
    told = [(process, watch) for process in status["processes"] if (watch := _watch(process))]
    places = [(process, place) for process, watch in told for place in watch["places"]]
    parts: list[RenderableType] = []
    if places:
        rows = table("blocked by", "where", "in", "process", ">times", ">in all", ">longest", wrap="blocked by")
        for process, place in sorted(places, key=lambda each: -each[1]["seconds"])[:_MOST]:
            rows.add_row(
                Text(place["call"] or place["function"] or "?"),
                Text(_short(place["place"])),
                Text(place["handler"] or place["cause"]),
                process["place"],
                str(place["count"]),
                ago(place["seconds"]),
                ago(place["worst"]),
            )
        parts.append(section(rows))
    parts += [_blind(sight, names) for sight, names in _sights(told).items()]
    return Group(*parts) if parts else None


def _watch(process: Facts) -> Facts:
    found: Facts = (process.get("stats") or {}).get("watch") or {}
    return found


def _sights(told: list[tuple[Facts, Facts]]) -> dict[str, list[str]]:
    blind: dict[str, list[str]] = {}
    for process, watch in told:
        if watch["sight"].startswith("late"):
            blind.setdefault(watch["sight"], []).append(process["place"])
    return blind


def _blind(sight: str, names: list[str]) -> Text:
    return Text(f"  the watch of {', '.join(names)} is {sight}", style="yellow")


def threads(status: Facts) -> RenderableType:
    """What each handler that has run for half a second is at: where, in which system call, for how long."""
    rows = table("process", "thread", "handler", ">for", "at", "waits in", wrap="at")
    count = 0
    for process in status["processes"]:
        for each in (process.get("stats") or {}).get("threads_busy") or ():
            count += 1
            rows.add_row(
                process["place"],
                Text(each["thread"]),
                Text(each["handler"] + (f" ({each['request_id']})" if each["request_id"] else "")),
                ago(each["seconds"]),
                Text(_label(each["at"])),
                Text(each["waits"] or "runs"),
            )
    return section(rows) if count else Text("  no handler has run for longer than half a second", style="dim")


def _label(text: str) -> str:
    function, _, place = text.rpartition(" ")
    return f"{_short(place)} {function}".strip()


def _short(place: str) -> str:
    return "/".join(place.rsplit("/", 2)[-2:])
