from __future__ import annotations

from random import Random

import pytest

from headgate.base.errors import ProtocolError
from headgate.base.frames import frame
from headgate.link.messages import VERSION, WINDOW, Cancel, Chunk, Draining, GatewayHello, Push, WorkerHello
from headgate.link.session import ReceiveWindow, SendWindow, data_bytes, gateway_session, worker_session

HELLO = WorkerHello(VERSION, "app-fast-0.1", 42, "fast", 1, 8, "wsgi", [("GET /", "/")], {})


def test_messages_survive_any_cut_of_the_bytes() -> None:
    worker, gateway = worker_session(), gateway_session()
    wire = b"".join([worker.encode(m) for m in (HELLO, Chunk(7, b"\x00body", True), Push(9, "text"), Draining())])
    got = [message for at in range(len(wire)) for message in gateway.feed(wire[at : at + 1])]
    assert got == [HELLO, Chunk(7, b"\x00body", True), Push(9, "text"), Draining()]


def test_text_and_bytes_stay_apart() -> None:
    worker, gateway = worker_session(), gateway_session()
    gateway.feed(worker.encode(HELLO))
    text, binary = gateway.feed(worker.encode(Push(1, "é")) + worker.encode(Push(1, b"\xc3")))
    assert isinstance(text, Push)
    assert text.data == "é"
    assert isinstance(binary, Push)
    assert binary.data == b"\xc3"


def test_another_version_is_refused_with_what_to_do() -> None:
    future = WorkerHello(VERSION + 1, "w", 1, "fast", 1, 1, "wsgi", [], {})
    with pytest.raises(ProtocolError, match="restart Headgate"):
        gateway_session().feed(worker_session().encode(future))


def test_no_hello_first_is_refused() -> None:
    with pytest.raises(ProtocolError, match="WorkerHello was due"):
        gateway_session().feed(worker_session().encode(Draining()))
    with pytest.raises(ProtocolError, match="GatewayHello was due"):
        worker_session().feed(gateway_session().encode(Cancel(1)))


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x91\xa5chunk", b"\x93\xa4nope\x01\x02", b"\x92\xa6cancel\xa1x"])
def test_garbage_is_a_protocol_error(payload: bytes) -> None:
    gateway = gateway_session()
    gateway.feed(worker_session().encode(HELLO))
    with pytest.raises(ProtocolError):
        gateway.feed(frame(payload))


def test_the_gateways_messages_are_not_a_workers() -> None:
    hello = GatewayHello(VERSION, 0, 1, "/tmp")
    with pytest.raises(ProtocolError):
        gateway_session().feed(gateway_session().encode(hello))


def test_a_send_window_stops_at_its_size_and_goes_on_with_credit() -> None:
    window = SendWindow()
    assert window.take(WINDOW)
    assert not window.take(1)
    window.grant(10)
    assert not window.take(11)
    assert window.take(10)
    assert window.left == 0


def test_a_push_over_the_window_waits_for_half_of_it() -> None:
    window = SendWindow(100)
    assert window.take(50)
    assert not window.take(1000)
    window.grant(1)
    assert window.take(1000)
    assert not window.take(1)
    window.grant(1_049)
    assert window.left == 100


def test_credit_is_collected_and_none_is_lost() -> None:
    window = ReceiveWindow(100)
    granted = [window.passed(20) for _ in range(10)]
    assert granted == [0, 0, 60, 0, 0, 60, 0, 0, 60, 0]


def test_a_sender_that_obeys_never_starves() -> None:
    """Whatever sizes are sent, the credit that comes back in half windows lets the next piece go at last."""
    random = Random(7)
    sender, receiver = SendWindow(100), ReceiveWindow(100)
    outstanding = 0
    for _ in range(5_000):
        size = random.choice((0, 1, 7, 49, 50, 51, 64, 99, 100, 101, 250))
        if not sender.take(size):
            sender.grant(receiver.passed(outstanding))
            outstanding = 0
            assert sender.take(size), f"stuck at {sender.left} with a piece of {size}"
        outstanding += size


def test_text_counts_by_its_utf8_length() -> None:
    assert [data_bytes(data) for data in ("é", b"ab", None, "")] == [2, 2, 0, 0]
