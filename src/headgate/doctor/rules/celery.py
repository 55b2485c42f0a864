"""Rules on Celery and RQ workers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from headgate.doctor.case import Case
from headgate.doctor.model import Finding, Place, Severity
from headgate.doctor.rules.registry import rule
from headgate.readers.python import Call, Module, decorators, literal

_DOCS: Final = "https://docs.celeryq.dev/en/stable/userguide"
_REDIS_VISIBILITY: Final = 3600.0
_LONG: Final = 60.0
"""Seconds from which a task is long enough for its neighbours to wait."""


def _settings(case: Case) -> dict[str, tuple[object, Place]]:
    """Celery's settings: `app.conf.NAME = …`, `app.conf.update(…)`, `Celery(…)`, by lower-case name."""
    found: dict[str, tuple[object, Place]] = {}
    for module in case.modules:
        if not module.uses("celery"):
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
                target = node.targets[0]
                if isinstance(target.value, ast.Attribute) and target.value.attr == "conf":
                    found[target.attr.lower()] = (literal(node.value), module.place(node))
        for call in module.calls:
            if call.name.endswith("conf.update") or call.name in ("celery.Celery",):
                for keyword in call.node.keywords:
                    if keyword.arg:
                        found[keyword.arg.lower()] = (literal(keyword.value), module.place(keyword.value))
    return found


def _tasks(case: Case) -> Iterator[tuple[Module, ast.AST, dict[str, object]]]:
    """Celery tasks with their decorator's keywords."""
    for module in case.modules:
        if not module.uses("celery"):
            continue
        for function in module.functions():
            for decorator, name in zip(function.decorator_list, decorators(function, module), strict=True):
                if name.endswith((".task", ".shared_task")) or name == "celery.shared_task":
                    keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
                    yield module, function, {each.arg: literal(each.value) for each in keywords if each.arg}


def _limit(options: dict[str, object], settings: dict[str, tuple[object, Place]]) -> float | None:
    for value in (
        options.get("time_limit"),
        options.get("soft_time_limit"),
        settings.get("task_time_limit", (None,))[0],
    ):
        if isinstance(value, int | float):
            return float(value)
    return None


@rule(
    "celery-visibility",
    "Redis gives a task to a second worker while the first still runs it",
    Severity.ERROR,
    why="with Redis as the broker, a task that is not acknowledged within visibility_timeout (1 hour by default) "
    "is handed out "
    "again: with acks_late, or a long countdown, it runs twice at once.",
    fix="broker_transport_options={'visibility_timeout': …} above the longest task and countdown.",
    source=f"{_DOCS}/../getting-started/backends-and-brokers/redis.html#visibility-timeout",
    rank=22,
)
def visibility(case: Case) -> Iterator[Finding]:
    settings = _settings(case)
    options, place = settings.get("broker_transport_options", ({}, None))
    timeout = options.get("visibility_timeout") if isinstance(options, dict) else None
    room = float(timeout) if isinstance(timeout, int | float) else _REDIS_VISIBILITY
    if not _on_redis(case, settings):
        return
    late = settings.get("task_acks_late", (False,))[0] is True
    for module, function, own in _tasks(case):
        limit = _limit(own, settings)
        if (own.get("acks_late") is True or late) and limit is not None and limit > room:
            message = f"a task may take {limit:g} s, and visibility_timeout is {room:g} s"
            yield Finding("celery-visibility", message, (module.place(function), *((place,) if place else ())))
    for module, call in _countdowns(case):
        wait = literal(call.keyword("countdown"))
        if isinstance(wait, int | float) and wait > room:
            message = f"a countdown of {wait:g} s, and visibility_timeout is {room:g} s"
            yield Finding("celery-visibility", message, (module.place(call.node), *((place,) if place else ())))


def _on_redis(case: Case, settings: dict[str, tuple[object, Place]]) -> bool:
    broker = settings.get("broker", settings.get("broker_url", ("",)))[0]
    return "redis" in str(broker) if broker else case.has("redis")


def _countdowns(case: Case) -> Iterator[tuple[Module, Call]]:
    for module in case.modules:
        for call in module.calls:
            if call.name.endswith("apply_async") and call.keyword("countdown") is not None:
                yield module, call


@rule(
    "celery-prefetch",
    "Workers reserve long tasks that they cannot begin",
    Severity.WARNING,
    why="each process takes four tasks ahead (worker_prefetch_multiplier): behind a long one three others wait, "
    "though other "
    "workers are idle.",
    fix="worker_prefetch_multiplier = 1 with task_acks_late, or -O fair; on Redis also worker_disable_prefetch.",
    source=f"{_DOCS}/optimizing.html#prefetch-limits",
)
def prefetch(case: Case) -> Iterator[Finding]:
    settings = _settings(case)
    value, _ = settings.get("worker_prefetch_multiplier", (4, None))
    if value == 1 or settings.get("worker_disable_prefetch", (False,))[0] is True:
        return
    workers = [server for server in case.servers if server.kind == "celery"]
    if any(server.get("prefetch_multiplier") and server.number("prefetch_multiplier", 4) == 1 for server in workers):
        return
    for module, function, own in _tasks(case):
        limit = _limit(own, settings)
        if limit is not None and limit >= _LONG:
            message = f"a task of up to {limit:g} s, and {value} are reserved for each process"
            yield Finding("celery-prefetch", message, (module.place(function), *(each.place for each in workers[:1])))
            return


@rule(
    "celery-acks-early",
    "A task whose worker dies is lost",
    Severity.WARNING,
    why="a task is acknowledged before it runs: when its worker is killed, by memory, a deploy or the machine, "
    "it is gone.",
    fix="task_acks_late = True with task_reject_on_worker_lost = True for tasks that may run twice.",
    source=f"{_DOCS}/tasks.html#Task.acks_late",
)
def acks_early(case: Case) -> Iterator[Finding]:
    settings = _settings(case)
    if settings.get("task_acks_late", (False,))[0] is True:
        return
    tasks = list(_tasks(case))
    early = [(module, function) for module, function, own in tasks if own.get("acks_late") is not True]
    if early:
        module, function = early[0]
        message = f"{len(early)} of {len(tasks)} tasks are acknowledged before they run"
        yield Finding("celery-acks-early", message, (module.place(function),))


@rule(
    "rq-default-timeout",
    "RQ ends jobs after three minutes",
    Severity.WARNING,
    why="a job without job_timeout is killed after 180 s, in the middle of its work, and counts as failed.",
    fix="enqueue(..., job_timeout='1h'), or Queue(default_timeout=3600).",
    source="https://python-rq.org/docs/#enqueueing-jobs",
)
def rq_timeout(case: Case) -> Iterator[Finding]:
    for module, call in case.calls("rq.Queue"):
        if call.keyword("default_timeout") is None:
            for other in module.calls:
                if other.name in ("rq.Queue().enqueue", ".enqueue") and other.keyword("job_timeout") is None:
                    place = module.place(other.node)
                    yield Finding("rq-default-timeout", "a job without job_timeout", (place, module.place(call.node)))
                    return
