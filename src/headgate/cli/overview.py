"""The picture that `headgate status` draws, from the supervisor's answer alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from headgate.cli import shared
from headgate.cli.blocked import blocked
from headgate.cli.console import ago, place, size
from headgate.cli.pools import pools
from headgate.cli.tables import section, table

Status = Mapping[str, Any]

_MOST_HANDLERS: Final = 20
_STATES: Final = {"serving": "green", "booting": "yellow", "leaving": "yellow"}
_JOB_STATES: Final = ("scheduled", "queued", "running", "succeeded", "failed", "cancelled")


def overview(status: Status) -> RenderableType:
    """All of it: head, processes, lanes, handlers, queues; parts with nothing to say are left out."""
    parts = [_head(status), _processes(status), _lanes(status), _handlers(status), _queues(status), pools(status)]
    parts.append(blocked(status))
    if "engine" in status:
        parts[1:1] = [shared.line(status["engine"])]
        parts.append(shared.machines(status["engine"]))
    return Group(*(part for part in parts if part is not None))


def _head(status: Status) -> RenderableType:
    colour = {"running": "green", "booting": "yellow", "stopping": "yellow"}.get(status["state"], "red")
    line = Text.assemble(
        ("● ", f"bold {colour}"),
        (f"Headgate {status['version']}", "bold"),
        f" {status['state']} for {ago(status['uptime'])}",
        (f"  pid {status['pid']} · generation {status['generation']} · {status['app'] or 'no app'}", "dim"),
    )
    addresses = "  ".join(status["addresses"])
    return Group(line, Text.assemble("  ", (addresses, "cyan"), (f"  data {place(status['data'])}", "dim")))


def _processes(status: Status) -> RenderableType:
    rows = table("process", ">pid", "state", ">up", ">cpu", ">memory", ">restarts", "doing")
    for process in sorted(status["processes"], key=_order):
        restarts = process["restarts"]
        rows.add_row(
            process["place"] + (f" [dim]gen {process['generation']}[/]" if process["generation"] > 1 else ""),
            str(process["pid"]),
            f"[{_STATES.get(process['state'], 'red')}]{process['state']}[/]",
            ago(process["uptime"]),
            ago(process["cpu"]) if "cpu" in process else "–",
            size(process["rss"]) if "rss" in process else "–",
            f"[yellow]{restarts}[/]" if restarts else "[dim]0[/]",
            _doing(process),
        )
    return section(rows)


def _order(process: Status) -> tuple[int, str, int, int]:
    roles = ("gateway", "app", "jobs", "rq", "celery", "broker")
    return (roles.index(process["role"]), process["lane"] or "", process["index"], process["generation"])


def _doing(process: Status) -> Text:
    """What a process says of itself, in a few words."""
    stats = process.get("stats") or {}
    if process.get("stopped"):
        return Text("stopped by a signal or a debugger", style="red")
    if process["role"] == "jobs":
        return _job(stats)
    if process["role"] == "gateway":
        sockets = _count(stats, "sockets", "socket") if stats.get("sockets") else ""
        words = [_count(stats, "connections", "connection"), sockets, _count(stats, "workers", "app worker")]
    elif process["role"] == "broker":
        words = [_count(stats, "clients", "client"), _count(stats, "following", "follower")]
    else:
        words = [f"{key} {value}" for key, value in stats.items() if isinstance(value, int | float) and value]
    return Text(" · ".join(word for word in words if word), overflow="ellipsis", no_wrap=True)


def _job(stats: Status) -> Text:
    if stats.get("job"):
        function = stats.get("function") or stats["job"]
        return Text.assemble((str(function), "bold"), f" for {ago(stats.get('running_for'))}")
    done = stats.get("done")
    return Text("idle" + (f", {done} done" if done else ""), style="dim")


def _count(stats: Status, key: str, word: str) -> str:
    value = stats.get(key)
    value = len(value) if isinstance(value, list | dict) else value
    return "" if value is None else f"{value} {word}{'' if value == 1 else 's'}"


def _gateways(status: Status) -> list[Status]:
    return [
        process["stats"] for process in status["processes"] if process["role"] == "gateway" and process.get("stats")
    ]


def _lanes(status: Status) -> RenderableType | None:
    """The lanes of all gateways together: what each says of a lane, added up."""
    lanes: dict[str, dict[str, float]] = {}
    for stats in _gateways(status):
        for lane, facts in (stats.get("lanes") or {}).items():
            total = lanes.setdefault(lane, {})
            for key, value in facts.items():
                if isinstance(value, int | float):
                    total[key] = max(total.get(key, 0), value) if _is_time(key) else total.get(key, 0) + value
    if not lanes:
        return None
    keys = list(dict.fromkeys(key for facts in lanes.values() for key in facts))
    rows = table("lane", *(f">{key.replace('_', ' ')}" for key in keys))
    for lane, facts in lanes.items():
        rows.add_row(_lane(lane), *(_number(key, facts[key]) if key in facts else "–" for key in keys))
    return section(rows)


def _handlers(status: Status) -> RenderableType | None:
    """The handlers, busiest first; of several gateways the one that has seen most of it speaks."""
    seen: dict[str, Status] = {}
    for handler in (handler for stats in _gateways(status) for handler in stats.get("handlers") or ()):
        known = seen.get(handler["name"])
        if known is None or handler.get("count", 0) > known.get("count", 0):
            seen[handler["name"]] = handler
    if not seen:
        return None
    ranked = sorted(seen.values(), key=lambda handler: -(handler.get("count") or 0))
    rows = table("handler", "lane", ">p95", ">runs", "why")
    for handler in ranked[:_MOST_HANDLERS]:
        p95 = handler.get("p95")
        rows.add_row(
            Text(handler["name"]),
            _lane(handler.get("lane") or "–"),
            "–" if p95 is None else ago(p95),
            str(handler.get("count", "–")),
            Text(str(handler.get("why") or ""), style="dim"),
        )
    left = len(ranked) - _MOST_HANDLERS
    more = [Text(f"… and {left} more: headgate status --json", style="dim")] if left > 0 else []
    return section(rows, *more)


def _queues(status: Status) -> RenderableType | None:
    broker: Iterable[Status] = (each.get("stats") or {} for each in status["processes"] if each["role"] == "broker")
    queues: dict[str, Status] = {}
    for stats in (*broker, status.get("engine") or {}):
        queues |= stats.get("jobs") or stats.get("queues") or {}
    if not queues:
        return None
    rows = table("queue", *(f">{state}" for state in _JOB_STATES))
    for queue, counts in queues.items():
        rows.add_row(queue, *(_cell(counts, state) for state in _JOB_STATES))
    return section(rows)


def _cell(counts: Status, state: str) -> str:
    count = counts.get(state, 0)
    style = "dim" if not count else "red" if state == "failed" else "default"
    return f"[{style}]{count}[/]"


def _lane(lane: str) -> str:
    return {"fast": "[green]fast[/]", "slow": "[yellow]slow[/]"}.get(lane, lane)


def _number(key: str, value: float) -> str:
    return (ago(value) if value else "–") if _is_time(key) else f"{value:g}"


def _is_time(key: str) -> bool:
    """Whether a lane's fact is a length of time, of which the greatest counts, not the sum."""
    return "age" in key or key.startswith("oldest")
