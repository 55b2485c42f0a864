"""What the command line says of an engine that many machines share: the server, its promises, the machines."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import msgspec
from rich.console import RenderableType
from rich.text import Text

from headgate.cli.console import ago
from headgate.cli.tables import section, table
from headgate.config.settings import Settings


class Shared(Protocol):
    """What such an engine offers beyond the ports."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def facts(self) -> Mapping[str, Any]: ...

    async def members(self, age: float = 5.0) -> Sequence[tuple[str, bytes, float]]: ...


def is_shared(settings: Settings) -> bool:
    """Whether the engine is one that machines share."""
    from headgate.roles.choose import is_shared

    return is_shared(settings.broker)


def look(settings: Settings) -> dict[str, Any]:
    """The engine's facts and all machines that it has heard of in the last seconds.

    Raises:
        Unavailable: it does not answer. ConfigError: it will not do.
    """
    from headgate.roles.choose import open_engine

    engine = cast(Shared, open_engine(settings.broker, settings.data, settings))

    async def session() -> dict[str, Any]:
        await engine.open()
        try:
            facts = dict(await engine.facts())
            found = await engine.members()
            facts["machines"] = [{**msgspec.msgpack.decode(raw), "seen": seen} for _, raw, seen in found]
            return facts
        finally:
            await engine.close()

    return asyncio.run(session())


def promise(facts: Mapping[str, Any]) -> Text:
    """The server and what an acknowledged enqueue is worth on it, for the start-up table."""
    text = Text.assemble(f"{facts['server']} at {facts['path']}", (f"\n{facts['worth']}", "dim"))
    for warning in facts["warnings"]:
        text.append(f"\n{warning}", "yellow")
    return text


def line(facts: Mapping[str, Any]) -> RenderableType:
    """The engine in one line, for `headgate status`."""
    if "failing" in facts:
        return Text(f"  engine: {facts['failing']}", style="red")
    return Text.assemble(f"  engine {facts['server']} at {facts['path']}", (f"  {facts['worth']}", "dim"))


def machines(facts: Mapping[str, Any]) -> RenderableType | None:
    """A row for each machine: its processes by role, the version, the app, when it was heard of."""
    if not facts.get("machines"):
        return None
    rows = table("machine", "processes", "queues", "version", "app", ">seen")
    by_machine: dict[str, list[Mapping[str, Any]]] = {}
    for one in facts["machines"]:
        by_machine.setdefault(one["machine"], []).append(one)
    for name, members in sorted(by_machine.items()):
        counts = Counter(f"{one['role']} {one['lane'] or ''}".strip() for one in members)
        queues = sorted({queue for one in members for queue in one.get("queues", ())})
        rows.add_row(
            Text(name),
            " · ".join(f"{count} {role}" for role, count in sorted(counts.items())),
            Text("all" if queues == ["*"] else ", ".join(queues)),
            ", ".join(sorted({str(one["version"]) for one in members})),
            Text(", ".join(sorted({str(one["app"]) for one in members}))),
            ago(min(float(one["seen"]) for one in members)),
        )
    return section(rows)
