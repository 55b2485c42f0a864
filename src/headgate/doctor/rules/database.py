"""Rules on databases and SQLAlchemy."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from headgate.doctor.case import Case
from headgate.doctor.model import Finding, Place, Severity
from headgate.doctor.rules.registry import rule
from headgate.readers.commands import Server
from headgate.readers.python import Call, Module, literal

_ENGINES: Final = ("sqlalchemy.create_engine", "sqlalchemy.engine.create_engine")
_POOLING: Final = "https://docs.sqlalchemy.org/en/20/core/pooling.html"
_USES: Final = ("connect", "begin", "execute", "create_all", "scalars", "query")
_IDLE: Final = ("mysql", "mariadb", "pgbouncer", ":6432", "rds.amazonaws", "azure")


@rule(
    "engine-before-fork",
    "Database connections are opened before gunicorn forks",
    Severity.ERROR,
    why="with preload_app all workers inherit the same open connection and read each other's answers: wrong rows, "
    "`SSL error: decryption failed`, hangs.",
    fix="Open connections after the fork: dispose of the engine in post_fork, or do not use it at import.",
    source=f"{_POOLING}#using-connection-pools-with-multiprocessing-or-os-fork",
    rank=14,
)
def before_fork(case: Case) -> Iterator[Finding]:
    for server in case.web("gunicorn"):
        preload = server.get("preload_app")
        if preload is None or not preload.on:
            continue
        for module in case.modules:
            if not module.uses("sqlalchemy", "flask_sqlalchemy", "psycopg", "psycopg2"):
                continue
            for call in module.calls:
                if _opens(call, module):
                    message = f"{ast.unparse(call.node.func)}() runs at import, and preload_app is on"
                    yield Finding("engine-before-fork", message, (module.place(call.node), preload.place))


def _opens(call: Call, module: Module) -> bool:
    if not call.at_import:
        return False
    holder, _, method = call.name.rpartition(".")
    if method == "connect" and holder in ("psycopg", "psycopg2"):
        return True
    return method in _USES and holder.endswith(("create_engine()", "SQLAlchemy()", "sessionmaker()()"))


@rule(
    "pool-over-limit",
    "All processes together open more connections than the database allows",
    Severity.ERROR,
    why="the last ones get `too many connections`, first under load, and operators cannot log in either.",
    fix="Make pool_size smaller, or let `headgate.pool(url)` size it from the server's limit.",
    source=f"{_POOLING}#sqlalchemy.pool.QueuePool",
    rank=30,
)
def pool_limit(case: Case) -> Iterator[Finding]:
    limit = case.postgres.get("max_connections")
    if limit is None or limit.number is None:
        return
    processes = [(server, _processes(server)) for server in case.servers]
    count = sum(each for _, each in processes)
    if not count:
        return
    for module, call, size, overflow in _pools(case):
        total = count * (size + overflow)
        if total > limit.number:
            message = (
                f"{count} processes × ({size} + {overflow} overflow) = {total}, and max_connections is {limit.number}"
            )
            servers = tuple(server.place for server, each in processes if each)
            yield Finding("pool-over-limit", message, (module.place(call.node), limit.place, *servers))


def _processes(server: Server) -> int:
    if server.kind in ("gunicorn", "uvicorn"):
        return server.number("workers", 1) * server.number("numprocs", 1)
    return server.number("concurrency", 1) if server.kind == "celery" else int(server.kind in ("rq", "flask"))


def _pools(case: Case) -> Iterator[tuple[Module, Call, int, int]]:
    """Engines with pool_size and max_overflow; SQLAlchemy's defaults are 5 and 10."""
    for module, call in case.calls(*_ENGINES):
        size, overflow = literal(call.keyword("pool_size")), literal(call.keyword("max_overflow"))
        pool = call.keyword("poolclass")
        if pool is not None and module.qualified(pool).endswith("NullPool"):
            continue
        yield (
            module,
            call,
            size if isinstance(size, int) else 5,
            overflow if isinstance(overflow, int) and overflow >= 0 else 10,
        )


@rule(
    "no-pre-ping",
    "Idle connections are cut off, and the pool does not check them",
    Severity.WARNING,
    why="MySQL, PgBouncer, firewalls and cloud databases end idle connections; the next request gets "
    "`server has gone away`.",
    fix="create_engine(..., pool_pre_ping=True), or pool_recycle below the cut-off. `headgate.pool` does both.",
    source=f"{_POOLING}#disconnect-handling-pessimistic",
)
def pre_ping(case: Case) -> Iterator[Finding]:
    for module, call in case.calls(*_ENGINES):
        url = ast.unparse(call.node.args[0]) if call.node.args else ""
        reason = next((word for word in _IDLE if word in url.lower()), None)
        if reason is None and isinstance(call.node.args[0] if call.node.args else None, ast.Name | ast.Subscript):
            reason = next((word for word in _IDLE if any(word in line.lower() for line in module.lines)), None)
        if reason and call.keyword("pool_pre_ping") is None and call.keyword("pool_recycle") is None:
            message = f"an engine for {reason.strip(':')} without pool_pre_ping"
            yield Finding("no-pre-ping", message, (module.place(call.node),))


@rule(
    "session-shared",
    "A SQLAlchemy session is shared by threads",
    Severity.ERROR,
    why="a Session is not safe for threads: two requests at once mix their transactions, lose rows, or fail with "
    "`concurrent operations are not permitted`.",
    fix="One session for each request: `with Session() as session`, scoped_session, or Flask-SQLAlchemy's db.session.",
    source="https://docs.sqlalchemy.org/en/20/orm/session_basics.html"
    "#is-the-session-thread-safe-is-asyncsession-safe-to-share-in-concurrent-tasks",
    rank=30,
)
def session_shared(case: Case) -> Iterator[Finding]:
    for module in case.modules:
        for call in module.calls:
            made = call.name in ("sqlalchemy.orm.Session", "sqlalchemy.orm.sessionmaker()")
            if made and call.at_import:
                name = _assigned(module, call)
                used = next(_used_in_functions(module, name), None) if name else None
                if used is not None:
                    message = f"the session {name!r} of the module is used in functions"
                    yield Finding("session-shared", message, (module.place(call.node), used))


def _assigned(module: Module, call: Call) -> str:
    for statement in module.tree.body:
        if isinstance(statement, ast.Assign) and statement.value is call.node:
            target = statement.targets[0]
            return target.id if isinstance(target, ast.Name) else ""
    return ""


def _used_in_functions(module: Module, name: str) -> Iterator[Place]:
    for function in module.functions():
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load):
                yield module.place(node)
