"""What becomes of work that a worker hands back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from headgate.gateway.bodies import Body
from headgate.gateway.calls import Call
from headgate.gateway.exchange import MOST_BOUNCES, Exchange, Task
from headgate.gateway.lanes import Bounds
from headgate.gateway.learner import FAST, SLOW, Learner
from headgate.link.messages import VERSION, Bounce, Cancel, Request, Scope, Slots, ToWorker, WorkerHello

HELLO = WorkerHello(VERSION, "w", 1, "slow", 1, 1, "wsgi", [], {})
SCOPE = Scope("POST", "/x", b"/x", b"", "1.1", "http", [], None, None, "", "r")


class FakeTransport:
    """The gateway's end of a link that leads nowhere."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.tell: Callable[[Any, Any], None] = lambda _transport, _message: None

    def send(self, message: ToWorker) -> None:
        self.sent.append(message)

    def hear(self, on_message: Callable[[Any, Any], None]) -> None:
        self.tell = on_message


class Work(Task):
    def __init__(self) -> None:
        super().__init__("GET /x")
        self.begun = self.given_up = 0

    def begin(self, send: Callable[[ToWorker], None]) -> None:
        self.begun += 1

    def lost(self) -> None:
        self.given_up += 1


@pytest.fixture
def exchange() -> Exchange:
    bounds = {FAST: Bounds(100, 9.0), SLOW: Bounds(100, 9.0)}
    return Exchange(bounds, Learner(0.01), now=lambda: 0.0)


@pytest.fixture
def worker(exchange: Exchange) -> FakeTransport:
    transport: Any = FakeTransport()
    exchange._first(transport, HELLO)
    fake: FakeTransport = transport
    return fake


def test_what_waited_behind_work_that_is_given_up_is_begun(exchange: Exchange, worker: FakeTransport) -> None:
    bounced, waiting = Work(), Work()
    exchange.submit(bounced)
    exchange.submit(waiting)
    assert (bounced.begun, waiting.begun) == (1, 0)
    while not bounced.given_up:
        assert bounced.bounces <= MOST_BOUNCES
        running = bounced if bounced.stream in exchange.links["w"].streams else waiting
        if running is waiting:
            exchange.end(waiting, "GET /x", 0.0)
            continue
        worker.tell(worker, Bounce(bounced.stream, "GET /x"))
    assert waiting.begun == 1
    assert exchange.links["w"].running == len(exchange.links["w"].streams)


async def test_a_request_whose_client_is_gone_is_not_begun_again(exchange: Exchange, worker: FakeTransport) -> None:
    call = Call(exchange, "POST /x", SCOPE, Body(b"", "/spool/f", 5_000_000))
    exchange.submit(call)
    call.client_gone()
    assert isinstance(worker.sent[-1], Cancel)
    worker.tell(worker, Bounce(call.stream, "POST /x"))
    assert sum(isinstance(message, Request) for message in worker.sent) == 1
    assert exchange.links["w"].running == 0


pytestmark = pytest.mark.anyio


def test_a_worker_with_more_slots_begins_what_waits_and_with_fewer_nothing_new(
    exchange: Exchange, worker: FakeTransport
) -> None:
    work = [Work() for _ in range(5)]
    for one in work:
        exchange.submit(one)
    assert [one.begun for one in work] == [1, 0, 0, 0, 0]
    worker.tell(worker, Slots(3))
    assert [one.begun for one in work] == [1, 1, 1, 0, 0]
    assert exchange.board.state(SLOW, 0.0).slots == 3
    worker.tell(worker, Slots(1))
    exchange.end(work[0], "GET /x", 0.02)
    exchange.end(work[1], "GET /x", 0.02)
    assert [one.begun for one in work] == [1, 1, 1, 0, 0], "one runs still"
    exchange.end(work[2], "GET /x", 0.02)
    assert [one.begun for one in work] == [1, 1, 1, 1, 0]


def test_what_goes_wrong_in_a_stream_costs_nobody_else(exchange: Exchange, worker: FakeTransport) -> None:
    class Broken(Work):
        def take(self, message: Any) -> None:
            raise RecursionError("thousands of brackets")

    broken = Broken()
    exchange.submit(broken)
    worker.tell(worker, Cancel(broken.stream))  # would have left the link's callback, and cut the link
    assert exchange.links["w"].streams
