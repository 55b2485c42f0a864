"""In what order a client's events begin, and what becomes of those that cannot: histories on a clock of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from headgate.base.errors import Full
from headgate.gateway.socketio.client import Client, Item
from headgate.gateway.socketio.turns import AT_ONCE, PATIENCE, RETRY, EventTask, Turns
from headgate.link.socketio import SioDone


class Lanes:
    """The exchange, as far as turns need it: starts what it is given, unless it is full."""

    def __init__(self) -> None:
        self.started: list[EventTask] = []
        self.full = False

    def submit(self, task: Any) -> None:
        if self.full:
            raise Full("no slot", retry_after=1.0)
        self.started.append(task)

    def end(self, *_: Any) -> None:
        """A slot is free."""


class Scene:
    """The owner of one client, its clock and its timers."""

    def __init__(self, ordered: bool = False) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[Any], None], Any]] = []
        self.exchange: Any = Lanes()
        self.ordered = ordered
        self.failures: list[str] = []
        self.idled = 0
        self.turns = Turns(self, lambda: self.now, self.call_later)
        self.client = Client("sid", "/", _NoSession())  # type: ignore[arg-type]

    def call_later(self, seconds: float, function: Callable[[Any], None], argument: Any) -> object:
        self.timers.append((self.now + seconds, function, argument))
        return object()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self.timers if timer[0] <= self.now + 1e-9]
        self.timers = [timer for timer in self.timers if timer not in due]
        for _, function, argument in due:
            function(argument)

    def add(self, *events: str) -> None:
        for event in events:
            kind = event if event in ("connect", "disconnect") else "event"
            self.turns.add(self.client, Item(kind, event))

    def end(self, event: str) -> None:
        task = next(one for one in self.exchange.started if one.handler == f"sio /:{event}")
        task.take(SioDone(task.stream, task.handler, True, None, [], {}, 0.001))

    @property
    def started(self) -> list[str]:
        return [task.handler.removeprefix("sio /:") for task in self.exchange.started]

    def state_of(self, client: Client) -> dict[str, bytes]:
        return {}

    def done(self, client: Client, item: Item, done: SioDone) -> None:
        """Nothing to keep."""

    def failed(self, client: Client, item: Item, why: str) -> None:
        self.failures.append(item.event)

    def idle(self, client: Client) -> None:
        self.idled += 1


class _NoSession:
    sid = "eio"


def test_one_after_the_other() -> None:
    scene = Scene()
    scene.add("a", "b", "c")
    assert scene.started == ["a"]
    scene.end("a")
    assert scene.started == ["a", "b"]
    scene.end("b")
    scene.end("c")
    assert scene.started == ["a", "b", "c"]
    assert scene.idled == 1


def test_a_slow_one_holds_the_next_up_for_a_moment_only() -> None:
    scene = Scene()
    scene.add("slow", "b", "c")
    scene.wait(PATIENCE / 2)
    assert scene.started == ["slow"]
    scene.wait(PATIENCE / 2)
    assert scene.started == ["slow", "b"]
    scene.end("b")
    scene.wait(PATIENCE)
    assert scene.started == ["slow", "b", "c"]


def test_strictly_in_order_if_the_app_says_so() -> None:
    scene = Scene(ordered=True)
    scene.add("slow", "b")
    scene.wait(10 * PATIENCE)
    assert scene.started == ["slow"]
    scene.end("slow")
    assert scene.started == ["slow", "b"]


def test_connect_comes_before_all_and_disconnect_after() -> None:
    scene = Scene()
    scene.add("connect", "a", "b", "disconnect")
    scene.wait(10 * PATIENCE)
    assert scene.started == ["connect"]
    scene.end("connect")
    scene.wait(PATIENCE)
    scene.wait(PATIENCE)
    assert scene.started == ["connect", "a", "b"]
    scene.end("b")
    assert scene.started == ["connect", "a", "b"], "a runs still"
    scene.end("a")
    assert scene.started == ["connect", "a", "b", "disconnect"]
    scene.end("disconnect")
    assert scene.idled == 1


def test_a_bound_on_what_runs_at_once() -> None:
    scene = Scene()
    scene.add(*(f"e{number}" for number in range(AT_ONCE + 3)))
    for _ in range(AT_ONCE + 10):
        scene.wait(PATIENCE)
    assert len(scene.started) == AT_ONCE
    scene.end("e3")
    scene.wait(PATIENCE)
    assert len(scene.started) == AT_ONCE + 1


def test_a_full_lane_is_asked_again() -> None:
    scene = Scene()
    scene.exchange.full = True
    scene.add("a", "b")
    assert (scene.started, len(scene.client.inbox)) == ([], 2)
    scene.exchange.full = False
    scene.wait(RETRY)
    assert scene.started == ["a"]


@pytest.mark.parametrize(("event", "times"), [("a", 1), ("connect", 3), ("disconnect", 3)])
def test_a_lost_worker(event: str, times: int) -> None:
    """An event may have run, and is not run again; a connect or disconnect is, since nobody would ever repeat it."""
    scene = Scene()
    scene.add(event)
    for number in range(times):
        assert scene.started == [event] * (number + 1)
        scene.exchange.started[-1].lost()
        scene.wait(RETRY)
    assert scene.failures == [event]
    assert scene.started == [event] * times


def test_no_slot_in_time() -> None:
    scene = Scene()
    scene.add("a", "b")
    scene.exchange.started[0].expired()
    assert (scene.failures, scene.started) == (["a"], ["a", "b"])
