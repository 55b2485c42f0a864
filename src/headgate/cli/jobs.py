"""`headgate jobs`: what an operator does with jobs, through the same ports as everybody else."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import click
import msgspec

from headgate.base.errors import HeadgateError, UnknownJob
from headgate.base.model import JobRecord, JobState
from headgate.base.ports import Engine
from headgate.cli.console import complain, out
from headgate.cli.engine import where_options, with_engine
from headgate.cli.upkeep import purge, stats, watch


@click.group(short_help="List, show, retry, cancel, purge, count and watch jobs.")
def jobs() -> None:
    """Look at the jobs of a data folder, or of the engine named by --broker, and act on them."""


for _command in (purge, stats, watch):
    jobs.add_command(_command)


@jobs.command("ls")
@click.option("--state", "states", multiple=True, type=click.Choice([state.value for state in JobState]))
@click.option("--failed", is_flag=True, help="The dead letters: jobs that failed their last try.")
@click.option("--queue", help="Only of this queue.")
@click.option("--tag", help="Only with this tag.")
@click.option("--function", help='Only of this function, as "module:name".')
@click.option("--after", metavar="ID", help="Go on after this job, the last of the page before.")
@click.option("--most", default=50, show_default=True, type=click.IntRange(1, 1000))
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@where_options
def ls(
    states: tuple[str, ...],
    failed: bool,
    queue: str | None,
    tag: str | None,
    function: str | None,
    after: str | None,
    most: int,
    as_json: bool,
    **where: str | None,
) -> None:
    """List jobs, newest first."""
    wanted = [JobState(state) for state in (*states, *(["failed"] if failed else []))]

    async def find(engine: Engine) -> list[JobRecord]:
        found = await engine.jobs.find(states=wanted, queue=queue, tag=tag, function=function, after=after, most=most)
        return list(found)

    records = with_engine(find, **where)
    if as_json:
        for record in records:
            click.echo(json.dumps(_plain(record, whole=False)))
    elif records:
        from headgate.cli.jobview import listing

        out().print(listing(records, time.time()))
        if len(records) == most:
            out().print(f"[dim]There may be more: --after {records[-1].id}[/]")
    else:
        out().print("No such jobs.")


@jobs.command("show")
@click.argument("job_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="As JSON, with everything that is known.")
@where_options
def show(job_id: str, as_json: bool, **where: str | None) -> None:
    """Show one job: arguments, tries, progress, result or failure with its traceback."""
    record = with_engine(lambda engine: engine.jobs.get(job_id), **where)
    if record is None:
        raise UnknownJob(
            f"There is no job {job_id}, or its time to live is over. `headgate jobs ls` lists those there are."
        )
    if as_json:
        click.echo(json.dumps(_plain(record, whole=True), indent=2))
        return
    from headgate.cli.jobview import card

    out().print(card(record, time.time()))


@jobs.command("retry")
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@where_options
def retry(job_ids: tuple[str, ...], **where: str | None) -> None:
    """Put failed or cancelled jobs back into their queues, their tries counted anew."""
    _each(job_ids, lambda engine, job_id: engine.jobs.retry(job_id), where)


@jobs.command("cancel")
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@where_options
def cancel(job_ids: tuple[str, ...], **where: str | None) -> None:
    """Cancel jobs that wait, and ask running ones to end."""
    _each(job_ids, lambda engine, job_id: engine.jobs.cancel(job_id), where)


def _each(
    job_ids: tuple[str, ...], order: Callable[[Engine, str], Awaitable[JobState]], where: dict[str, str | None]
) -> None:
    """Give an order about each job; those that cannot take it are told one by one, and make the exit code 1."""

    async def give(engine: Engine) -> list[tuple[str, JobState | HeadgateError]]:
        results: list[tuple[str, JobState | HeadgateError]] = []
        for job_id in job_ids:
            try:
                results.append((job_id, await order(engine, job_id)))
            except HeadgateError as exc:
                results.append((job_id, exc))
        return results

    results = with_engine(give, **where)
    for job_id, result in results:
        if isinstance(result, HeadgateError):
            complain(f"{job_id}: {result}")
        else:
            out().print(f"{job_id} {result.value}")
    if any(isinstance(result, HeadgateError) for _, result in results):
        raise SystemExit(1)


def _plain(record: JobRecord, *, whole: bool) -> dict[str, Any]:
    """A record as JSON has it: what the user put in and got out decoded. Of a list it is not the whole of it."""
    plain: dict[str, Any] = msgspec.to_builtins(record)
    spec = plain.pop("spec")
    if whole:
        spec["arguments"] = unpacked(record.spec.arguments)
        plain["result"] = None if record.result is None else unpacked(record.result)
        plain["checkpoint"] = None if record.checkpoint is None else unpacked(record.checkpoint)
    else:
        del spec["arguments"], plain["result"], plain["checkpoint"]
    decoded: dict[str, Any] = json.loads(msgspec.json.encode({**spec, **plain}, enc_hook=str))
    return decoded


def unpacked(packed: bytes) -> Any:
    """What msgpack bytes hold; their length in words when they hold something else."""
    try:
        return msgspec.msgpack.decode(packed)
    except msgspec.DecodeError:
        return f"({len(packed)} bytes)"
