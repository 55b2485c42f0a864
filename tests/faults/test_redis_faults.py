"""Redis as the engine when Redis, the network or a machine fails: what must hold, holds; what is lost is counted."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.base.errors import Unavailable
from headgate.base.model import JobState
from tests.support.contract import packed_call
from tests.support.proxy import Proxy
from tests.support.redis import Redis, Sentinel
from tests.support.redis_crew import RedisLedger, redis_crew
from tests.support.wait import until

DURABLE = {"appendonly": "yes", "appendfsync": "everysec"}


def state(bridge: Any, job_id: str) -> JobState | None:
    record = bridge.get(job_id)
    return None if record is None else record.state


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that does not run."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_nothing_acknowledged_is_lost_under_random_faults(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Redis(DURABLE))
        proxy = stack.enter_context(Proxy(server.port))
        crew = stack.enter_context(redis_crew(tmp_path, server, workers=0, job_lease=2.0))
        crew.move(f"redis://127.0.0.1:{proxy.port}/0")
        for _ in range(2):
            crew.start_worker()
        ledger = RedisLedger(crew, 1, proxy)
        ledger.run(seconds=8)
        ledger.reckon()
        assert len(ledger.acknowledged) > 20


def test_without_persistence_a_restart_loses_what_waited_and_all_goes_on(tmp_path: Path) -> None:
    with Redis() as server, redis_crew(tmp_path, server, workers=1, job_lease=2.0) as crew:
        running = crew.app.write.enqueue("running", 0.5)
        until(lambda: "running" in crew.ledger(), "the job runs")
        waiting = [crew.app.write.enqueue(f"waits-{n}") for n in range(5)]
        server.kill()
        server.restart()
        # That is what such a server promises; `headgate run` says so at its start.
        assert crew.app.write.enqueue("after").wait(30) is not None
        lost = [job.id for job in (running, *waiting) if crew.bridge.get(job.id) is None]
        assert len(lost) == 6
        assert not {f"waits-{n}" for n in range(5)} & set(crew.ledger())


def test_after_a_failover_nothing_that_replicas_had_is_lost(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        master = stack.enter_context(Redis())
        replica = stack.enter_context(Redis({"replicaof": f"127.0.0.1 {master.port}"}))
        sentinel = stack.enter_context(Sentinel(master))
        with redis_crew(tmp_path, master, workers=1, url=sentinel.url, wait_replicas=1, job_lease=2.0) as crew:
            acknowledged: dict[str, str] = {}
            stop = threading.Event()

            def produce() -> None:
                number = 0
                while not stop.is_set():
                    line, number = f"line-{number}", number + 1
                    with contextlib.suppress(Unavailable):
                        acknowledged[line] = crew.app.write.enqueue(line, 0.01).id

            producer = threading.Thread(target=produce)
            producer.start()
            until(lambda: len(acknowledged) > 20, "jobs are acknowledged")
            # The old master has no replica from here on, so what it accepts is not acknowledged.
            before = len(acknowledged)
            master.kill()
            with replica.client() as client:
                until(lambda: client.execute_command("ROLE")[0] == b"master", "the fail-over", seconds=60)
                client.config_set("min-replicas-to-write", "0")
            stop.set()
            producer.join(30)
            # Nobody can replicate to the dead master: from now on jobs are accepted without.
            url = f"{sentinel.url}?wait_replicas=0"
            crew.start_elsewhere(url)
            until(lambda: set(acknowledged) <= set(crew.ledger()), "all acknowledged jobs have run", seconds=60)
            assert before > 20


def test_a_machine_that_is_cut_off_loses_its_job_and_its_result_is_refused(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Redis(DURABLE))
        proxy = stack.enter_context(Proxy(server.port))
        with redis_crew(tmp_path, server, workers=0, job_lease=2.0) as crew:
            far = crew.start_elsewhere(f"redis://127.0.0.1:{proxy.port}/0")
            job = crew.app.held_up_once.enqueue("line")
            until(lambda: crew.ledger() == ["line"], "the job runs on the far machine")
            proxy.cut()
            near = crew.start_worker()
            assert job.wait(30) == 2
            first = crew.bridge.get(job.id)
            assert first is not None
            assert first.worker == crew.name_of(near)
            proxy.heal()
            # The far one learns that its lease has passed to another, gives its run up and takes part again.
            near.stop()
            crew.workers.remove(near)
            assert crew.app.write.enqueue("again").wait(30) == far.process.pid
            second = crew.bridge.get(job.id)
            assert second is not None
            assert (second.state, second.epoch, second.result) == (first.state, first.epoch, first.result)
            kinds = [event.kind for event in crew.bridge.read(first.stream).events]
            assert kinds == ["queued", "started", "retrying", "started", "result"]


def test_full_memory_refuses_what_is_new_and_ends_what_runs(tmp_path: Path) -> None:
    with Redis({"maxmemory-policy": "noeviction"}) as server, redis_crew(tmp_path, server, workers=1) as crew:
        running = crew.app.write.enqueue("running", 1.0)
        until(lambda: "running" in crew.ledger(), "the job runs")
        waiting = crew.app.write.enqueue("waiting")
        with server.client() as client:
            client.config_set("maxmemory", "1")
            with pytest.raises(Unavailable, match="maxmemory"):
                crew.app.write.enqueue("refused")
            assert running.wait(30) is not None
            assert waiting.wait(30) is not None
            client.config_set("maxmemory", "0")
        crew.app.write.enqueue("accepted").wait(30)
        assert crew.ledger() == ["running", "waiting", "accepted"]


def test_a_slow_network_costs_time_and_nothing_else(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Redis())
        proxy = stack.enter_context(Proxy(server.port))
        with redis_crew(tmp_path, server, workers=0, job_lease=2.0) as crew:
            crew.start_elsewhere(f"redis://127.0.0.1:{proxy.port}/0")
            proxy.delay = 0.1
            long = crew.app.write.enqueue("long", 3.0)
            jobs = [crew.app.echo.enqueue(n) for n in range(5)]
            assert [job.wait(30) for job in jobs] == list(range(5))
            record = crew.bridge.get(long.id)
            assert record is not None
            # Renewed in time, so it ran once.
            assert record.tries == 1


def test_leases_outlive_a_server_that_stood_still(tmp_path: Path) -> None:
    with Redis() as server, redis_crew(tmp_path, server, workers=1, job_lease=4.0) as crew:
        job = crew.app.write.enqueue("line", 7.0)
        until(lambda: crew.ledger() == ["line"], "the job runs")
        with frozen(server.process.pid):
            time.sleep(4.5)  # longer than the lease: this is the fault, not a wait for something
        assert job.wait(30) is not None
        record = crew.bridge.get(job.id)
        assert record is not None
        assert (record.tries, record.losses) == (1, 0)


def test_a_dead_workers_job_is_back_at_once_and_a_dead_machines_at_the_leases_end(tmp_path: Path) -> None:
    with Redis() as server, redis_crew(tmp_path, server, workers=2, job_lease=60.0) as crew:
        job = crew.app.held_up_once.enqueue("line")
        until(lambda: crew.ledger() == ["line"], "the job runs")
        worker = crew.worker_running(job.id)
        worker.kill()
        crew.bury(worker)
        # The lease has most of its minute left.
        assert job.wait(20) == 2
    with Redis() as server, redis_crew(tmp_path, server, workers=2, job_lease=2.0) as crew:
        job = crew.app.held_up_once.enqueue("line 2")
        until(lambda: "line 2" in crew.ledger(), "the job runs")
        crew.worker_running(job.id).kill()
        assert job.wait(20) == 2


def test_a_worker_that_does_not_know_a_function_leaves_it_to_those_that_do(tmp_path: Path) -> None:
    with Redis() as server, redis_crew(tmp_path, server, workers=1) as crew:
        [receipt] = crew.bridge.put([packed_call("jobsapp:of_the_next_version", 1)])
        assert crew.app.echo.enqueue("known").wait(30) == "known"
        record = crew.bridge.get(receipt.id)
        assert record is not None
        assert (record.state, record.tries) == (JobState.QUEUED, 0)
