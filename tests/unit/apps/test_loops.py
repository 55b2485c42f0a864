"""flask-sock routes, unchanged, behind a link; and their turns."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flask
import flask_sock
import pytest
import simple_websocket  # type: ignore[import-untyped]

from headgate.apps.events import event_finder
from headgate.apps.turns import LENT_AFTER, TurnGate
from headgate.link.messages import Accept, Closed, Consumed, Fail, Feed, Hangup, Push, Reject, Timed
from tests.unit.apps.gateway import PATIENCE, FakeGateway, Hosted, eventually, hosted, scope


class Desk:
    """A Flask app with flask-sock routes, and what became of them."""

    def __init__(self) -> None:
        self.ended: list[Any] = []
        self.go = threading.Event()
        self.running = 0
        self.most = 0
        self._lock = threading.Lock()
        self.app = flask.Flask("desk")
        self.app.config["SOCK_SERVER_OPTIONS"] = {"subprotocols": ["v2"], "ping_interval": 25}
        sock = flask_sock.Sock(self.app)
        sock.route("/echo/<name>")(self.echo)
        sock.route("/hold")(self.hold)
        sock.route("/raise")(self.fail)
        sock.route("/poll")(self.poll)
        sock.route("/bye")(self.bye)
        sock.route("/flood")(self.flood)

    def echo(self, ws: Any, name: str) -> None:
        assert isinstance(ws, simple_websocket.Server)
        assert ws.connected
        ws.send(f"hello {name} {ws.subprotocol} {flask.request.args.get('q')}")
        try:
            while True:
                data = ws.receive()
                ws.send(data if isinstance(data, bytes) else data.upper())
        finally:
            self.ended.append((ws.connected, ws.close_reason, ws.close_message))

    def hold(self, ws: Any) -> None:
        """Each message is a turn that lasts until the test lets it go."""
        while True:
            data = ws.receive()
            with self._lock:
                self.running += 1
                self.most = max(self.most, self.running)
            if json.loads(data).get("type") != "light":
                assert self.go.wait(PATIENCE)
            with self._lock:
                self.running -= 1
            ws.send(data)

    def fail(self, ws: Any) -> None:
        ws.receive()
        raise RuntimeError("loop trouble")

    def poll(self, ws: Any) -> None:
        ws.send(repr(ws.receive(timeout=0)))
        ws.send(repr(ws.receive(timeout=0.01)))
        ws.send(repr(ws.receive(timeout=PATIENCE)))

    def bye(self, ws: Any) -> None:
        ws.close(4000, "that was it")
        try:
            ws.send("more")
        except simple_websocket.ConnectionClosed as exc:
            self.ended.append(int(exc.reason))

    def flood(self, ws: Any) -> None:
        try:
            while True:
                ws.send("x" * 16384)
        finally:
            self.ended.append("flood")


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.go.set()


@pytest.fixture
def host(desk: Desk, tmp_path: Path) -> Iterator[Hosted]:
    with hosted(desk.app, tmp_path, inbox=8) as host:
        yield host


def begin(gateway: FakeGateway, path: str, **more: Any) -> int:
    stream = gateway.open(scope(path=path, scheme="ws", **more))
    accept = gateway.next(Accept)
    assert (accept.stream, accept.native) == (stream, False)
    return stream


def feed(gateway: FakeGateway, stream: int, data: Any) -> None:
    gateway.send(Feed(stream, data))


def test_the_loops_rules_are_held_in_the_slow_lane(host: Hosted) -> None:
    assert host.gateway.hello.pinned["ws /echo/<name>"] == "slow"


def test_a_loop_echoes_text_and_bytes_until_the_client_goes(host: Hosted, desk: Desk) -> None:
    gateway = host.gateway
    stream = gateway.open(scope(path="/echo/ann", query=b"q=1", subprotocols=["v1", "v2"]))
    accept = gateway.expect(Accept)
    assert (accept.handler, accept.subprotocol) == ("ws /echo/<name>", "v2")
    assert gateway.expect(Push).data == "hello ann v2 1"
    feed(gateway, stream, "text")
    feed(gateway, stream, b"\x00")
    assert [gateway.next(Push).data for _ in range(2)] == ["TEXT", b"\x00"]
    gateway.send(Closed(stream, 1001, "tab closed"))
    hangup = gateway.next(Hangup)
    assert hangup.stream == stream
    assert desk.ended == [(False, 1001, "tab closed")]


def test_what_was_received_before_the_end_is_still_given(host: Hosted) -> None:
    gateway = host.gateway
    stream = begin(gateway, "/echo/ann")
    gateway.expect(Push)
    feed(gateway, stream, "last words")
    gateway.send(Closed(stream, 1000, ""))
    assert gateway.next(Hangup).stream == stream


def test_receive_with_a_timeout(host: Hosted) -> None:
    gateway = host.gateway
    stream = begin(gateway, "/poll")
    assert [gateway.expect(Push).data for _ in range(2)] == ["None", "None"]
    feed(gateway, stream, "late")
    assert gateway.next(Push).data == "'late'"
    assert gateway.next(Hangup).code == 1000


def test_the_handler_ends_the_connection(host: Hosted, desk: Desk) -> None:
    begin(host.gateway, "/bye")
    hangup = host.gateway.next(Hangup)
    assert (hangup.code, hangup.reason) == (4000, "that was it")
    assert eventually(lambda: desk.ended == [4000])


def test_a_handler_that_raises_ends_with_1011_and_its_traceback_in_the_log(
    host: Hosted, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = host.gateway
    stream = begin(gateway, "/raise")
    feed(gateway, stream, "go")
    assert gateway.next(Hangup).code == 1011
    assert "loop trouble" in caplog.text


def test_an_unknown_path_is_refused_by_the_app(host: Hosted) -> None:
    host.gateway.open(scope(path="/nothing"))
    assert host.gateway.expect(Reject).status == 404


def test_a_slow_client_holds_the_loop_back_and_its_end_frees_it(host: Hosted, desk: Desk) -> None:
    gateway = host.gateway
    stream = begin(gateway, "/flood")
    got = 0
    while not gateway.quiet():
        got += len(gateway.expect(Push).data)
    assert got <= 256 * 1024
    gateway.send(Closed(stream, 1006, ""))
    assert eventually(lambda: desk.ended == ["flood"])


def test_messages_taken_are_told_so_that_more_may_come(host: Hosted) -> None:
    gateway = host.gateway
    stream = begin(gateway, "/echo/x")
    for _ in range(8):
        feed(gateway, stream, "m")
    told = 0
    pushed = 0
    while pushed < 9 or told < 8:
        message = gateway.receive()
        told += message.count if isinstance(message, Consumed) else 0
        pushed += isinstance(message, Push)
    assert told == 8


def test_one_loop_too_many_is_refused(desk: Desk, tmp_path: Path) -> None:
    with hosted(desk.app, tmp_path, loop_threads=1) as host:
        first = begin(host.gateway, "/echo/1")
        host.gateway.open(scope(path="/echo/2"))
        reject = host.gateway.next(Reject)
        assert (reject.status, dict(reject.headers)[b"retry-after"]) == (503, b"5")
        host.gateway.send(Closed(first, 1000, ""))
        assert eventually(lambda: host.host.busy == 0)
        begin(host.gateway, "/echo/3")


def test_a_lost_link_ends_its_loops(host: Hosted, desk: Desk) -> None:
    begin(host.gateway, "/echo/x")
    host.gateway.next(Push)  # the handler is at work
    host.gateway.close()
    assert eventually(lambda: [end[:2] for end in desk.ended] == [(False, 1006)])


def test_at_the_end_loops_are_told_to_come_back(host: Hosted, desk: Desk) -> None:
    gateway = host.gateway
    begin(gateway, "/echo/x")
    gateway.next(Push)  # the handler is at work
    host.call(host.host.end)
    hangup = gateway.next(Hangup)
    assert hangup.code == 1012
    assert eventually(lambda: [end[1] for end in desk.ended] == [1012])


def test_turns_are_timed_by_event(host: Hosted, desk: Desk) -> None:
    desk.go.set()
    gateway = host.gateway
    stream = begin(gateway, "/hold")
    feed(gateway, stream, '{"type": "update"}')
    feed(gateway, stream, '{"n": 1}')
    feed(gateway, stream, '{"n": 2}')
    names = [gateway.next(Timed).handler for _ in range(2)]
    assert names == ["loop /hold:update", "loop /hold"]


def test_only_a_few_turns_run_at_once_unless_they_are_known_fast(host: Hosted, desk: Desk) -> None:
    gateway = host.gateway
    gateway.knows(**{"loop /hold:light": True})
    streams = [begin(gateway, "/hold") for _ in range(6)]
    for stream in streams[:5]:
        feed(gateway, stream, '{"type": "heavy"}')
    assert eventually(lambda: desk.running == 2)
    feed(gateway, streams[5], '{"type": "light"}')
    assert gateway.next(Push).stream == streams[5]
    assert desk.most <= 3
    desk.go.set()
    assert {gateway.next(Push).stream for _ in range(5)} == set(streams[:5])
    assert desk.most <= 3


def test_an_app_that_raises_in_the_handshake_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: Any, start: Any) -> list[bytes]:
        raise RuntimeError("no handshake")

    with hosted(app, tmp_path) as host:
        host.gateway.open(scope(path="/x"))
        assert host.gateway.expect(Fail).error_id in caplog.text


class Hand:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def enter(gate: TurnGate, then: Callable[[Any], None]) -> threading.Thread:
    thread = threading.Thread(target=lambda: then(gate.enter()), daemon=True)
    thread.start()
    return thread


def test_the_gate_lets_in_by_the_order_of_coming() -> None:
    gate = TurnGate(1)
    slot = gate.enter()
    order: list[int] = []
    for number in range(3):

        def turn(mine: Any, number: int = number) -> None:
            order.append(number)
            gate.leave(mine)

        enter(gate, turn)
        assert eventually(lambda number=number: gate.waiting == number + 1)  # type: ignore[misc]
    gate.leave(slot)
    assert eventually(lambda: len(order) == 3)
    assert order == [0, 1, 2]
    assert (gate.held, gate.waiting) == (0, 0)


def test_a_turn_that_never_ends_lends_its_slot() -> None:
    clock = Hand()
    gate = TurnGate(1, clock)
    endless = gate.enter()
    entered = threading.Event()
    enter(gate, lambda _slot: entered.set())
    assert eventually(lambda: gate.waiting == 1)
    clock.now = LENT_AFTER - 1
    gate.lend()
    assert not entered.is_set()
    clock.now = LENT_AFTER + 1
    gate.lend()
    assert entered.wait(PATIENCE)
    gate.leave(endless)  # it ends after all: nobody else's slot goes with it
    assert gate.held == 1


@pytest.mark.parametrize(
    ("data", "event"),
    [
        ('{"type": "update", "big": [1, {"type": "x"}]}', "update"),
        ('{"event": "b", "action": "c"}', "b"),
        ('{"action": "c"}', "c"),
        ('{"type": 7, "action": "c"}', "c"),
        ('{"type": ""}', None),
        ('{"type": "%s"}' % ("x" * 65), None),
        ('{"type": "a\\nb"}', None),
        ("[1]", None),
        ("{broken", None),
        ("text", None),
        (b'{"type": "bytes"}', None),
    ],
)
def test_the_event_of_a_message(data: Any, event: str | None) -> None:
    assert event_finder(("type", "event", "action"))(data) == event
