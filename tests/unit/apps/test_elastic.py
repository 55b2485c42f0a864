"""Slots that come while handlers wait and go when nobody needs them: with a virtual clock, and in a real worker."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from headgate.apps.elastic import CALM, Elastic
from headgate.link.messages import Head, Slots
from tests.unit.apps.gateway import PATIENCE, hosted, scope

TICK = 0.1


class Worker:
    """A worker by the tick: `want` handlers would run, and each of those that run takes `share` of a core."""

    def __init__(self, base: int = 40, most: int = 160) -> None:
        self.now = self.cpu = 0.0
        self.elastic = Elastic(base, most, 0.0, 0.0)

    def run(self, seconds: float, want: int, share: float = 0.0) -> int:
        for _ in range(round(seconds / TICK)):
            busy = min(want, self.elastic.slots)
            self.now += TICK
            self.cpu += TICK * min(1.0, busy * share)
            self.elastic.look(busy, self.now, self.cpu)
        return self.elastic.slots


def test_slots_grow_to_the_bound_while_handlers_wait() -> None:
    worker = Worker()
    assert worker.run(0.2, want=500) == 40, "not at once: a burst is over in a moment"
    assert worker.run(5.0, want=500) == 160
    assert worker.run(60.0, want=500) == 160


def test_handlers_that_compute_get_no_more() -> None:
    assert Worker().run(60.0, want=500, share=0.02) == 40, "forty of them take most of a core"


def test_slots_that_are_not_all_taken_do_not_grow() -> None:
    assert Worker().run(60.0, want=39) == 40


def test_slots_go_when_nobody_needs_them_and_never_below_the_base() -> None:
    worker = Worker()
    worker.run(5.0, want=500)
    assert worker.run(CALM / 2, want=0) == 160
    assert worker.run(2 * CALM, want=60) == 75, "what is needed, and a quarter"
    assert worker.run(3 * CALM, want=3) == 40


def test_a_bound_below_the_base_means_no_growth() -> None:
    assert Worker(base=40, most=0).run(30.0, want=500) == 40


class Waiting:
    """A WSGI app whose requests wait until they are let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.inside = threading.Semaphore(0)

    def __call__(self, environ: dict[str, Any], start: Any) -> list[bytes]:
        self.inside.release()
        assert self.go.wait(PATIENCE)
        start("200 OK", [("Content-Length", "2")])
        return [b"ok"]


def test_a_workers_threads_follow_its_slots_and_gateways_are_told(tmp_path: Path) -> None:
    app = Waiting()
    with hosted(app, tmp_path, slots=4, most_slots=9) as host:
        asked = {host.gateway.request(scope(path="/")) for _ in range(9)}
        for _ in range(9):
            assert app.inside.acquire(timeout=PATIENCE), "nine of them run at once, of four slots"
        told = [host.gateway.expect(Slots).slots for _ in range(2)]
        assert told == [6, 9]
        assert host.host.stats()["slots"] == host.host.stats()["most_slots"] == 9
        app.go.set()
        assert {host.gateway.next(Head).stream for _ in range(9)} == asked
