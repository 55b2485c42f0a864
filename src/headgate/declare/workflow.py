"""Jobs that belong together: chains, groups with a completion, and jobs that come again by the clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from headgate.base import cron
from headgate.base.errors import BadArguments, ConfigError
from headgate.base.model import Cron, JobSpec, Missed
from headgate.declare import binding
from headgate.declare.handle import JobHandle
from headgate.declare.job import JobFunction


def chain(calls: Sequence[JobSpec]) -> JobHandle:
    """Enqueue jobs that run one after the other, in one commit: `gate.chain(load.prepared(7), report.prepared())`.

    A job finds the result of the one before it in `job.before[0]`. When one fails for good or is cancelled,
    those after it are cancelled.

    Returns:
        the handle of the last one.

    Raises:
        BadArguments: there is no job in it. QueueFull, Unavailable: nothing was enqueued.
    """
    if not calls:
        raise BadArguments("a chain needs at least one job")
    linked = [calls[0]]
    for call in calls[1:]:
        linked.append(msgspec.structs.replace(call, after=(linked[-1].id,)))
    return _put(linked)


def group(calls: Iterable[JobSpec], then: JobSpec, *, even_if_failed: bool = False) -> JobHandle:
    """Enqueue jobs that run side by side, and one that runs when all of them have ended, in one commit.

    The completion finds their results in `job.before`, in their order. Its stream tells the group's progress, so
    following its handle follows the group.

    Args:
        calls: made by `function.prepared(…)`.
        then: the completion, made likewise.
        even_if_failed: run the completion whatever became of the others; else it is cancelled with the first
            that does not succeed.

    Returns:
        the handle of the completion.

    Raises:
        QueueFull, Unavailable: nothing was enqueued.
    """
    members = list(calls)
    after = tuple(member.id for member in members)
    return _put([*members, msgspec.structs.replace(then, after=after, even_if_failed=even_if_failed)])


def make_cron(job: JobFunction[Any], expression: str, zone: str, missed: str) -> Cron:
    """The cron of a job function, checked.

    Raises:
        ConfigError: a wrong expression, zone or policy, or a function that needs arguments.
    """
    cron.parse(expression, zone)
    if missed not in tuple(Missed):
        raise ConfigError(f"the cron of {job.name}: missed is one of {', '.join(Missed)}, not {missed!r}")
    try:
        template = job.spec((), {})
    except BadArguments as exc:
        raise ConfigError(f"the cron of {job.name} has no arguments to give: {exc}") from None
    return Cron(name=job.name, expression=expression, job=template, zone=zone, missed=Missed(missed))


def _put(specs: Sequence[JobSpec]) -> JobHandle:
    receipt = binding.current().engine.put(specs)[-1]
    return JobHandle(receipt.id, receipt.created)
