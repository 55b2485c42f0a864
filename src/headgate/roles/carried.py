"""A Headgate job in a worker of RQ or Celery: the ticket has come, the job is claimed, run and settled as in our own.

One job per call, in the main thread of the worker's process; leases, progress, timeouts and cancellation as ever.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import quote

import msgspec

from headgate.base.errors import ConfigError, JobFailed
from headgate.base.model import Claim, JobState, Outcome, Settlement
from headgate.base.ports import Engine, JobSource
from headgate.config.load import load
from headgate.config.settings import Settings
from headgate.declare import binding, registry
from headgate.declare.context import JobContext
from headgate.drivers.bridge import Bridge
from headgate.drivers.redis import RedisEngine
from headgate.jobs.worker import JobWorker, Recycle
from headgate.library import secret_of
from headgate.roles.carriers import rq_url
from headgate.roles.choose import is_shared, open_bridge

log = logging.getLogger(__name__)


class OneJob:
    """An engine from which exactly one claim can be taken: the one that is there already."""

    def __init__(self, engine: Engine, claim: Claim) -> None:
        self._engine = engine
        self.source: JobSource = cast(JobSource, _OneSource(engine.source, claim))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


class _OneSource:
    def __init__(self, source: JobSource, claim: Claim) -> None:
        self._source = source
        self._claims = [claim]

    async def take(
        self, worker: str, queues: Sequence[str], most: int, functions: Sequence[str] | None = None
    ) -> Sequence[Claim]:
        if self._claims:
            return [self._claims.pop()]
        await asyncio.Event().wait()
        return []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


class Connected:
    """This process's connection to the engine; a fork of it has none."""

    pid = 0
    bridge: Bridge | None = None
    settings: Settings | None = None
    forked = False
    """Whatever was connected when this process began belongs to its parent."""


def _was_forked() -> None:
    Connected.forked = True


os.register_at_fork(after_in_child=_was_forked)


def connected() -> None:
    """Make sure that declarations of this process speak to an engine, also in a worker that was forked.

    Raises:
        ConfigError: the engine is not known here. Unavailable: it does not answer.
    """
    if Connected.forked:
        _connect(None)


def run_in_rq(job_id: str) -> Any:
    """Run a Headgate job; called by an RQ worker with the ticket's argument. Returns the job's result.

    Raises:
        JobFailed: the job has failed for good: RQ shows its ticket as failed.
        ConfigError: this worker cannot run it; the job goes to another.
    """
    return run(job_id, "rq", _rq_broker())


def run(job_id: str, carrier: str, broker: str | None) -> Any:
    """Run one job, if it is (still) to be run. Returns its result, or a word about what became of it.

    Args:
        job_id: the ticket.
        carrier: whose worker this is.
        broker: the engine, where neither the environment nor a file names one that many processes share.
    """
    if threading.current_thread() is not threading.main_thread():
        raise ConfigError(f"Headgate's jobs run in the main thread of a {carrier} worker: use processes, not threads")
    bridge, settings = _connect(broker)
    engine = cast(RedisEngine, bridge.engine)
    name = f"{socket.gethostname()}/{carrier}-{os.getpid()}"
    claim = bridge.call(engine.claim_one, name, job_id)
    if claim is None:
        return f"nothing to do: job {job_id} is not waiting (any more)"
    try:
        _find(claim.job.spec.function, settings)
    except (
        BaseException
    ):  # the app's modules may even end the process: nobody else would run the job until its lease ends
        back = Settlement(id=job_id, epoch=claim.job.epoch, outcome=Outcome.RELEASED, delay=settings.job_lease)
        bridge.call(engine.source.settle, name, [back])
        raise
    JobWorker(
        name,
        cast(Engine, OneJob(bridge.engine, claim)),
        bridge.loop,
        registry.jobs,
        JobContext,
        result_bytes=settings.job_result_bytes,
        recycle=Recycle(jobs=1),
        layers=registry.layers,
    ).run(lambda: None)
    return _became(bridge, job_id)


def _became(bridge: Bridge, job_id: str) -> Any:
    record = bridge.get(job_id)
    if record is None:
        return None
    if record.state is JobState.FAILED and record.failure is not None:
        failure = record.failure
        raise JobFailed(job_id, failure.type, failure.message, failure.traceback)
    if record.state is JobState.SUCCEEDED:
        return None if record.result is None else msgspec.msgpack.decode(record.result)
    return f"job {job_id} is {record.state.value}"


def _connect(broker: str | None) -> tuple[Bridge, Settings]:
    if Connected.pid != os.getpid() or Connected.bridge is None or Connected.settings is None:
        settings = load().settings
        if not is_shared(settings.broker):
            if broker is None:
                raise ConfigError("this worker does not know Headgate's engine: set HEADGATE_BROKER to its URL")
            settings = msgspec.structs.replace(settings, broker=broker)
        # A worker that lives for one job must not take tickets that it may not live to send.
        bridge = open_bridge(settings.broker, settings.data, settings, carries=False)
        bridge.open()
        rq = rq_url(settings.broker, settings)
        binding.bind(bridge, secret=lambda: secret_of(settings), root_path=settings.root_path, rq_url=rq)
        Connected.pid, Connected.bridge, Connected.settings = os.getpid(), bridge, settings
    return Connected.bridge, Connected.settings


def _find(function: str, settings: Settings) -> None:
    """Import what declares the function, unless that has been done.

    Raises:
        ConfigError: it cannot be imported here, or declares no such job.
    """
    if function in registry.jobs:
        return
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        importlib.import_module((settings.app or function).partition(":")[0])
        importlib.import_module(function.partition(":")[0])
    except Exception as exc:  # whatever the app's modules raise
        raise ConfigError(f"the job {function} cannot be imported here: {type(exc).__name__}: {exc}") from exc
    if function not in registry.jobs:
        raise ConfigError(f"the code of this worker declares no job {function}")


def _rq_broker() -> str | None:
    """The Redis that this RQ worker works on: Headgate's engine is the same one, unless told otherwise."""
    from rq import get_current_job

    current = get_current_job()
    if current is None:
        return None
    given = current.connection.connection_pool.connection_kwargs
    if "host" not in given:
        return None
    scheme = "rediss" if "ssl" in type(current.connection.connection_pool).__name__.lower() else "redis"
    user, password = given.get("username") or "", given.get("password")
    credentials = f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else ""
    return f"{scheme}://{credentials}{given['host']}:{given.get('port', 6379)}/{given.get('db', 0)}"
