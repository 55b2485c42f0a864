"""Rules on Redis as a queue or a message queue."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from headgate.doctor.case import Case
from headgate.doctor.model import Change, Finding, Severity
from headgate.doctor.rules.registry import rule
from headgate.readers.commands import Server
from headgate.readers.python import literal

_CLIENTS: Final = (
    "redis.Redis",
    "redis.StrictRedis",
    "redis.from_url",
    "redis.Redis.from_url",
    "redis.asyncio.Redis",
    "redis.asyncio.from_url",
    "redis.asyncio.Redis.from_url",
    "redis.BlockingConnectionPool",
    "redis.ConnectionPool",
)
_BLOCKING: Final = frozenset({"blpop", "brpop", "blmove", "brpoplpush", "bzpopmin", "bzpopmax", "xread", "xreadgroup"})


def _queues(case: Case) -> bool:
    """Whether Redis holds work."""
    workers = any(server.kind in ("rq", "celery") for server in case.servers)
    return workers or case.has("rq", "celery", "dramatiq", "huey", "saq", "arq") or bool(_message_queue(case))


def _message_queue(case: Case) -> bool:
    return any(call.keyword("message_queue") is not None for _, call in case.calls("flask_socketio.SocketIO"))


@rule(
    "redis-evicts",
    "Redis may throw away queued jobs",
    Severity.ERROR,
    why="with a memory limit and another policy than noeviction, Redis deletes keys when it is full: queued jobs and "
    "their results are gone, and nobody is told.",
    fix="maxmemory-policy noeviction for the instance that holds queues; caches get one of their own.",
    source="https://redis.io/docs/latest/develop/reference/eviction/",
    rank=11,
)
def evicts(case: Case) -> Iterator[Finding]:
    policy, limit = case.redis.get("maxmemory-policy"), case.redis.get("maxmemory")
    if policy is None or policy.text == "noeviction" or not _queues(case):
        return
    if limit is None or limit.text in ("0", "0b"):
        return
    change = Change(policy.place, policy.place.text, "maxmemory-policy noeviction") if policy.place.line else None
    message = f"maxmemory {limit.text} with {policy.text}"
    yield Finding("redis-evicts", message, (policy.place, limit.place), change=change)


@rule(
    "redis-blocking-timeout",
    "redis-py 8 ends blocking calls after five seconds",
    Severity.WARNING,
    why="since redis-py 8 a connection has a socket_timeout of 5 s: a blocking pop or read that waits longer "
    "raises TimeoutError while all is well.",
    fix="socket_timeout=None for connections that block, or a time-out of the call below it.",
    source="https://redis.readthedocs.io/en/stable/connections.html",
)
def blocking_timeout(case: Case) -> Iterator[Finding]:
    major = case.major("redis")
    if major is None or major < 8:
        return
    clients = [(module, call) for module, call in case.calls(*_CLIENTS)]
    if any(call.keyword("socket_timeout") is not None for _, call in clients):
        return
    for module in case.modules:
        if not module.uses("redis"):
            continue
        for call in module.calls:
            method = call.name.rpartition(".")[2]
            if method in _BLOCKING:
                wait = literal(call.keyword("timeout") or call.keyword("block"))
                if method in ("xread", "xreadgroup") and call.keyword("block") is None:
                    continue
                long = wait is None or wait == 0 or (isinstance(wait, int | float) and _seconds(method, wait) > 5)
                if long:
                    message = f"{method}() waits longer than the client's 5 s"
                    package = case.packages["redis"].place
                    yield Finding("redis-blocking-timeout", message, (module.place(call.node), package))


def _seconds(method: str, wait: float) -> float:
    """xread's block is in milliseconds (Redis, XREAD)."""
    return wait / 1000 if method.startswith("x") else wait


@rule(
    "redis-pool-size",
    "More threads than Redis connections",
    Severity.WARNING,
    why="a ConnectionPool raises `Too many connections` when a thread finds none free: requests fail under load only.",
    fix="max_connections at least the threads of a process, or a BlockingConnectionPool, which waits.",
    source="https://redis.readthedocs.io/en/stable/connections.html#connection-pools",
)
def pool_size(case: Case) -> Iterator[Finding]:
    for module, call in case.calls(*_CLIENTS):
        if "Blocking" in call.name:
            continue
        size = literal(call.keyword("max_connections"))
        for server in case.web():
            threads = _threads(server)
            if isinstance(size, int) and size < threads:
                message = f"max_connections={size}, and a process runs up to {threads} requests at a time"
                where = "threads" if server.worker_class == "gthread" else "worker_class"
                yield Finding("redis-pool-size", message, (module.place(call.node), server.where(where)))


def _threads(server: Server) -> int:
    green = server.worker_class in ("eventlet", "gevent")
    return server.number("worker_connections", 1000) if green else server.number("threads", 1)
