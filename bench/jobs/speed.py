"""Enqueueing, throughput and latency of one engine, on servers started for the turn."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.hosting import booted
from bench.jobs.hosts import APPS, Engine
from bench.rounds import Row
from tests.support.headgate import Headgate
from tests.support.marked import bearers, new_mark
from tests.support.process import Process
from tests.support.redis import Redis
from tests.support.wait import until

RECORD = struct.Struct("dd")
PARK, IDLE = 1.0, 25
"""Seconds of enqueueing, and jobs one after the other on the idle engine."""
LONGEST = 120.0


class ProducerFailed(RuntimeError):
    """A producer process ended with an error, which is the message."""


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a producer printed."""
    out, err = process.communicate(timeout=LONGEST)
    if process.returncode != 0:
        raise ProducerFailed(err)
    answer: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return answer


@contextmanager
def folder_of_a_turn(mark: dict[str, str]) -> Iterator[Path]:
    """A folder that is gone afterwards, and so is every process that bears the mark.

    An engine's own children may outlive the command that started them: one that spins on a Redis that is gone would
    be measured in every later turn.
    """
    folder = Path(tempfile.mkdtemp(prefix="hg-jobs-", dir="/tmp"))
    try:
        yield folder
    finally:
        kill(list(bearers(mark)))
        shutil.rmtree(folder, ignore_errors=True)


def kill(pids: list[int]) -> None:
    """SIGKILL to each that is still there."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def start_workers(engine: Engine, env: Mapping[str, str], folder: Path, redis: Redis) -> list[Process]:
    """The peer's worker commands."""
    assert engine.peer is not None
    words = engine.workers.replace("REDIS", redis.url).split()
    command = [engine.peer.program(words[0]), *words[1:]]
    return [
        Process(f"{engine.peer.name}{number}", command, folder, env=env, cwd=APPS) for number in range(engine.copies)
    ]


def headgate(env: Mapping[str, str], folder: Path, queue: str) -> Headgate:
    """Headgate on the folder's data, or on the Redis that the environment names; its two job workers at one queue."""
    options = ("--jobs", "2", "--queues", queue)
    return booted("headgate_app:app", folder, *options, app_folder=APPS, env=env)


def lines(folder: Path) -> list[tuple[float, float]]:
    """(sent, first line) of each job that ran."""
    try:
        data = (folder / "lines").read_bytes()
    except FileNotFoundError:
        return []
    return [(sent, ran) for sent, ran in RECORD.iter_unpack(data[: len(data) // RECORD.size * RECORD.size])]


def wait_for_lines(folder: Path, count: int, workers: list[Process]) -> None:
    """Wait until so many jobs have run; a worker that ends before fails at once."""

    def there() -> bool:
        for worker in workers:
            if not worker.alive():
                raise RuntimeError(f"a worker ended: {worker.log()[-2000:]}")
        path = folder / "lines"
        return path.exists() and path.stat().st_size >= count * RECORD.size

    until(there, f"{count} jobs have run", LONGEST)


def throughput(folder: Path) -> float:
    """Jobs per second, from the moment at which the first tenth has run: workers that start are not timed."""
    ran = sorted(end for _, end in lines(folder))
    first = len(ran) // 10
    return (len(ran) - first) / (ran[-1] - ran[first - 1])


def percentile(values: list[float], percent: float) -> float:
    """The smallest value that so many percent of the values do not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * percent / 100))]


def idle(engine: Engine, env: Mapping[str, str], folder: Path) -> Row:
    """Latencies of jobs that find the engine idle."""
    before = len(lines(folder))
    ends = finish(engine.produce(env, "idle", IDLE))["result"]
    firsts = [ran - sent for sent, ran in lines(folder)[before + 5 :]]
    return {
        "first_p50": percentile(firsts, 50),
        "first_p99": percentile(firsts, 99),
        "result_p50": percentile(ends, 50),
        "result_p99": percentile(ends, 99),
    }


def turn(engine: Engine) -> Row:
    """One engine, all three measures."""
    mark = new_mark()
    with folder_of_a_turn(mark) as folder, ExitStack() as stack:
        if not engine.redis:
            return _embedded(engine, folder)
        redis = stack.enter_context(Redis())
        env = engine.environment(folder, {**where(redis, folder), **mark})
        with redis.client() as client:
            # every write on disk before it is answered, as the embedded engine's are
            client.config_set("appendonly", "yes")
            client.config_set("appendfsync", "always")
            synced = finish(engine.produce(env, "park", PARK))
            client.config_set("appendonly", "no")
            client.flushall()
            parked = finish(engine.produce(env, "park", PARK))
            client.flushall()
        finish(engine.produce(env, "load", engine.load))
        found = {"enqueue_p50": parked["p50"], "enqueue": parked["rate"], "synced": synced["rate"]}
        return {**found, **_served(engine, env, folder, redis, stack)}


def where(redis: Redis | None, folder: Path) -> dict[str, str]:
    """How an engine's processes find its broker."""
    ours = {"HEADGATE_DATA": str(folder / "data")}
    return ours if redis is None else {**ours, "REDIS_URL": redis.url, "HEADGATE_BROKER": redis.url}


def _embedded(engine: Engine, folder: Path) -> Row:
    env = engine.environment(folder, where(None, folder))
    with headgate(env, folder, "nobody"):
        parked = finish(engine.produce(env, "park", PARK))
        finish(engine.produce(env, "load", engine.load))
    with ExitStack() as stack:
        found = {"enqueue_p50": parked["p50"], "enqueue": parked["rate"], "synced": parked["rate"]}
        return {**found, **_served(engine, env, folder, None, stack)}


def _served(engine: Engine, env: Mapping[str, str], folder: Path, redis: Redis | None, stack: ExitStack) -> Row:
    """Throughput of what waits, and then latency."""
    if engine.peer is None:
        workers = [stack.enter_context(headgate(env, folder, "served")).process]
    else:
        assert redis is not None
        workers = start_workers(engine, env, folder, redis)
        for worker in workers:
            stack.callback(worker.stop, seconds=5.0)
    wait_for_lines(folder, engine.load, workers)
    return {"throughput": throughput(folder), **idle(engine, env, folder)}
