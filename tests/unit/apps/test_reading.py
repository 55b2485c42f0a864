"""Reading by the loop and by a leader, which handlers are quick, and the pool of threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.apps.pace import FIRST, PROBE, Pace
from headgate.apps.pool import HandlerPool
from headgate.link.messages import Head
from tests.unit.apps.gateway import PATIENCE, eventually, hosted, scope


def test_a_handler_is_quick_until_it_is_known_and_then_by_its_best_runs() -> None:
    pace = Pace()
    assert pace.quick("GET /")
    pace.measured("GET /", 0.5, 0.1)  # the first run imports things
    for _ in range(FIRST):
        pace.measured("GET /", 0.0001, 0.0001)
    assert pace.quick("GET /")


def test_a_handler_that_waits_is_not_quick_however_short() -> None:
    pace = Pace()
    for _ in range(FIRST):
        pace.measured("GET /db", 0.0008, 0.0001)
    assert not pace.quick("GET /db")


def test_a_handler_that_computes_long_is_not_quick() -> None:
    pace = Pace()
    for _ in range(FIRST):
        pace.measured("GET /sum", 0.02, 0.02)
    assert not pace.quick("GET /sum")


def test_a_few_disturbed_runs_do_not_make_it_slow_but_many_do() -> None:
    pace = Pace()
    for number in range(200):
        late = number % 10 == 0
        pace.measured("GET /", 0.004 if late else 0.0001, 0.0001)
    assert pace.quick("GET /")
    for _ in range(200):
        pace.measured("GET /", 0.004, 0.0001)
    assert not pace.quick("GET /")


def test_what_is_not_quick_is_tried_again_now_and_then() -> None:
    pace = Pace()
    for _ in range(FIRST):
        pace.measured("GET /db", 0.02, 0.0)
    assert [pace.quick("GET /db") for _ in range(2 * PROBE)].count(True) == 2


class Desk:
    """A WSGI app: `/fast` answers, `/wait` waits until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.waiting = threading.Semaphore(0)
        self.threads: set[str] = set()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        self.threads.add(threading.current_thread().name)
        if environ["PATH_INFO"] == "/wait":
            self.waiting.release()
            assert self.go.wait(PATIENCE)
        start("200 OK", [("Content-Length", "2")])
        return [b"ok"]


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.go.set()


def test_a_burst_is_answered_whoever_reads(desk: Desk, tmp_path: Path) -> None:
    with hosted(desk, tmp_path, slots=3) as host:
        gateway = host.gateway
        for _ in range(20):
            asked = {gateway.request(scope(path="/fast")) for _ in range(50)}
            assert {gateway.expect(Head).stream for _ in range(50)} == asked


def test_a_leader_that_is_caught_in_a_handler_holds_nobody_up(desk: Desk, tmp_path: Path) -> None:
    with hosted(desk, tmp_path, slots=3) as host:
        gateway = host.gateway
        for _ in range(200):  # so that a thread leads, and `GET *` is known as quick
            gateway.request(scope(path="/fast"))
        for _ in range(200):
            gateway.expect(Head)
        caught = gateway.request(scope(path="/wait"))
        behind = {gateway.request(scope(path="/fast")) for _ in range(20)}
        assert {gateway.expect(Head).stream for _ in range(20)} == behind
        desk.go.set()
        assert gateway.expect(Head).stream == caught


def test_all_threads_can_be_caught_and_the_rest_waits(desk: Desk, tmp_path: Path) -> None:
    with hosted(desk, tmp_path, slots=2) as host:
        gateway = host.gateway
        caught = {gateway.request(scope(path="/wait")) for _ in range(2)}
        for _ in caught:
            assert desk.waiting.acquire(timeout=PATIENCE)
        late = gateway.request(scope(path="/fast"))
        assert gateway.quiet()
        desk.go.set()
        assert {gateway.expect(Head).stream for _ in range(3)} == {*caught, late}
        assert len(desk.threads) <= 2


def test_the_pool_grows_only_as_needed_and_shrinks_when_idle() -> None:
    pool = HandlerPool(4, idle_seconds=0.05)
    done = threading.Semaphore(0)
    for _ in range(5):
        pool.submit(done.release)
        assert done.acquire(timeout=PATIENCE)
        assert eventually(lambda: pool.busy == 0)
    assert pool.threads == 1
    assert eventually(lambda: pool.threads == 0)
    pool.submit(done.release)
    assert done.acquire(timeout=PATIENCE)


def test_the_pool_runs_calls_side_by_side_up_to_its_bound() -> None:
    pool = HandlerPool(3)
    together = threading.Barrier(3, timeout=PATIENCE)
    done = threading.Semaphore(0)

    def meet() -> None:
        together.wait()
        done.release()

    for _ in range(6):
        pool.submit(meet)
    for _ in range(6):
        assert done.acquire(timeout=PATIENCE)
    assert pool.threads == 3
    assert pool.close(PATIENCE)


def test_a_call_that_raises_is_logged_and_its_thread_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    pool = HandlerPool(1)
    done = threading.Event()

    def fail() -> None:
        raise SystemExit("our own bug")

    pool.submit(fail)
    pool.submit(done.set)
    assert done.wait(PATIENCE)
    assert "our own bug" in caplog.text
    assert pool.close(PATIENCE)
