"""A job worker's process: `python -m headgate.roles.jobs`, started by the supervisor."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from headgate.apps.loader import load
from headgate.apps.offloaded import AsgiRequestJob, RequestJob
from headgate.base.marks import Mark
from headgate.declare import binding, registry
from headgate.declare.context import JobContext
from headgate.declare.socketio import hook as socketio
from headgate.jobs.middleware import Layer
from headgate.jobs.worker import JobWorker, Recycle
from headgate.library import secret_of
from headgate.roles.carriers import rq_url
from headgate.roles.choose import is_shared, open_bridge
from headgate.roles.machine import Deaths, member, on_loop, worker_name
from headgate.roles.pools import with_pools
from headgate.supervisor.child import EXIT_BOOT, Child
from headgate.watch.threads import HandlerThreads

log = logging.getLogger(__name__)

LONG: Final = 0.5
"""Seconds after which a job that runs is shown by `headgate status --threads`."""


def run(child: Child) -> None:
    """Import the app, connect, run jobs until told to stop; in the main thread.

    Raises:
        ConfigError, Unavailable, whatever the app's import raises: the worker cannot start.
    """
    settings = child.settings
    _be_nice(settings.job_nice)
    name = worker_name(settings, child.name)
    bridge = open_bridge(settings.broker, Path(settings.data), settings, worker=name, member=member(child))
    rq = rq_url(settings.broker, settings)
    binding.bind(bridge, secret=lambda: secret_of(settings), root_path=settings.root_path, rq_url=rq)
    bridge.open()
    if is_shared(settings.broker):
        deaths = Deaths(settings, bridge.engine, on_loop(bridge.loop))
        deaths.before(child)
        child.on_message("worker_died", deaths.heard)
    try:
        socketio.prepare(settings.folder.run, spectator=True)
        loaded = load(settings.app)
        socketio.imported()
        kind = RequestJob if loaded.interface == "wsgi" else AsgiRequestJob
        registry.add_job(kind(loaded.app, settings.folder.offload).function())
        bridge.call(bridge.engine.operations.set_crons, settings.app, list(registry.crons.values()))
        threads = None if child.watch is None else HandlerThreads(child.watch, math.inf)  # a job may take its time
        worker = JobWorker(
            name,
            bridge.engine,
            bridge.loop,
            registry.jobs,
            JobContext,
            queues=settings.queues,
            result_bytes=settings.job_result_bytes,
            recycle=Recycle(settings.job_max_jobs, settings.job_max_memory),
            layers=[stamped(threads), *registry.layers],
            mark=_mark(settings.folder.marks, child.name),
        )
        child.on_stop(worker.stop)
        pulse = threading.Thread(target=_pulse, args=(child, worker, threads), name="headgate-pulse", daemon=True)

        def ready() -> None:
            child.ready()
            # The first job may end the process with its first line; that would look like a failure to boot.
            child.flush(2.0)
            pulse.start()

        worker.run(ready)
    finally:
        bridge.close()


def _mark(folder: Path, name: str) -> Mark | None:
    try:
        return Mark(folder, name)
    except OSError as exc:
        log.warning("what runs here cannot be noted for the case that it kills this process: %s", exc)
        return None


def _be_nice(nice: int) -> None:
    with contextlib.suppress(OSError):
        os.nice(nice)


def stamped(threads: HandlerThreads | None) -> Layer:
    """The outermost layer around a job: notes what runs, for `headgate status --threads`."""

    def around(job: Any, call: Callable[[], Any]) -> Any:
        if threads is None:
            return call()
        threads.begin(f"job {job.id}")
        try:
            return call()
        finally:
            threads.end()

    return around


def _pulse(child: Child, worker: JobWorker, threads: HandlerThreads | None) -> None:
    """Tell the supervisor once a second that the process lives, and what it runs.

    A thread of its own: a job may hold the main thread for hours and is not stalled by that. One that holds
    the interpreter lock stops this thread too, and is then found by its silence.
    """
    pause, report = threading.Event(), with_pools(child.report)
    while not pause.wait(1.0):
        child.touch()
        busy = threads.busy(LONG) if threads is not None else []
        report({**worker.keeper.facts(), "threads_busy": busy})


def main() -> None:
    """Run the role; does not return."""
    child = Child.from_environment()
    code = 0
    try:
        run(child)
    except BaseException as exc:
        if child.is_ready.is_set():
            log.error("%s ends because of an error", child.name, exc_info=exc)
            code = 1
        else:
            child.failed(exc)
            code = EXIT_BOOT
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that user code left behind must not keep the process: its jobs are settled.
    os._exit(code)


if __name__ == "__main__":
    main()
