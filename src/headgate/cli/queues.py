"""`headgate queues`: what an operator says of queues. It is kept in the data folder, so a restart changes nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

import click

from headgate.base.errors import HeadgateError
from headgate.base.ports import Engine
from headgate.cli.console import out
from headgate.cli.engine import where_options, with_engine

LOOK: Final = 0.2
"""Seconds between two looks at a queue that is being drained."""
WAITING: Final = ("scheduled", "queued", "running")


@click.group(short_help="Show, pause, resume, drain and bound queues.")
def queues() -> None:
    """Show queues and change their rules."""


@queues.command("ls")
@click.option("--json", "as_json", is_flag=True, help="As JSON: queue → its jobs by state and its rules.")
@where_options
def ls(as_json: bool, **where: str | None) -> None:
    """List the queues that have jobs or rules."""

    async def look(engine: Engine) -> dict[str, Any]:
        jobs, rules = await engine.jobs.stats(), await engine.operations.queues()
        names = sorted({*jobs, *rules})
        return {name: {"jobs": dict(jobs.get(name, {})), "rules": dict(rules.get(name, {}))} for name in names}

    found = with_engine(look, **where)
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, about in found.items():
        counts = ", ".join(f"{count:,} {state}" for state, count in about["jobs"].items()) or "no jobs"
        out().print(f"{name}: {counts}{_words(about['rules'])}")
    if not found:
        out().print("There are no queues yet: a queue begins with its first job.")


@queues.command("pause")
@click.argument("names", metavar="QUEUE...", nargs=-1, required=True)
@where_options
def pause(names: tuple[str, ...], **where: str | None) -> None:
    """Start no more jobs of these queues; running ones go on, new ones are accepted and wait."""
    _set(names, {"paused": True}, where)


@queues.command("resume")
@click.argument("names", metavar="QUEUE...", nargs=-1, required=True)
@where_options
def resume(names: tuple[str, ...], **where: str | None) -> None:
    """Start jobs of these queues again, and accept new ones: undoes pause and drain."""
    _set(names, {"paused": False, "depth": None}, where)


@queues.command("drain")
@click.argument("name", metavar="QUEUE")
@click.option("--timeout", type=float, metavar="SECONDS", help="Give up waiting after so long; default: never.")
@where_options
def drain(name: str, timeout: float | None, **where: str | None) -> None:
    """Accept no more jobs for a queue and wait until those it has are done. `resume` opens it again."""

    async def wait(engine: Engine) -> None:
        await engine.operations.set_queue(name, depth=0, paused=False)
        async with asyncio.timeout(timeout):
            while left := _left(await engine.jobs.stats(), name):
                out().print(f"{left} jobs are left", end="\r")
                await asyncio.sleep(LOOK)

    try:
        with_engine(wait, **where)
    except TimeoutError:
        raise HeadgateError(
            f"queue {name!r} was not empty after {timeout:g} s; it stays closed to new jobs until `resume`"
        ) from None
    out().print(f"Queue {name} is empty, and closed until `headgate queues resume {name}`.")


@queues.command("set")
@click.argument("names", metavar="QUEUE...", nargs=-1, required=True)
@click.option("--slots", type=click.IntRange(0), help="Jobs that run at once, on all workers together.")
@click.option("--rate", type=float, help="Jobs started per second.")
@click.option("--depth", type=click.IntRange(0), help="Jobs that may wait; beyond it QueueFull.")
@click.option("--weight", type=float, help="Share of the workers beside other queues; 1 without a rule.")
@click.option("--unset", multiple=True, type=click.Choice(["slots", "rate", "depth"]), help="Take a bound away.")
@where_options
def set_(names: tuple[str, ...], unset: tuple[str, ...], **given: Any) -> None:
    """Bound queues."""
    where = {key: given.pop(key) for key in ("data", "broker", "chdir")}
    rules = {key: value for key, value in given.items() if value is not None} | dict.fromkeys(unset)
    if not rules:
        raise click.UsageError("say what to set: --slots, --rate, --depth, --weight or --unset")
    _set(names, rules, where)


def _set(names: tuple[str, ...], rules: Mapping[str, Any], where: Mapping[str, str | None]) -> None:
    async def change(engine: Engine) -> list[tuple[str, Mapping[str, Any]]]:
        return [(name, await engine.operations.set_queue(name, **rules)) for name in names]

    for name, now in with_engine(change, **where):
        out().print(f"{name}{_words(now) or ': no rules'}")


def _words(rules: Mapping[str, Any]) -> str:
    said = ["paused"] if rules.get("paused") else []
    said += [f"{key} {rules[key]:g}" for key in ("slots", "rate", "depth") if rules.get(key) is not None]
    if rules.get("weight", 1.0) != 1.0:
        said.append(f"weight {rules['weight']:g}")
    return f" ({', '.join(said)})" if said else ""


def _left(counts: Mapping[str, Mapping[str, int]], name: str) -> int:
    return sum(counts.get(name, {}).get(state, 0) for state in WAITING)
