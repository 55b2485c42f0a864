"""A client's conversation with the broker without I/O: breaks, repeats, deadlines, nonsense."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from headgate.base.errors import EngineGone, ProtocolError, QueueFull, Unavailable
from headgate.base.frames import FrameReader, frame
from headgate.drivers.embedded import codec, wire
from headgate.drivers.embedded.session import Session

NEVER = float("inf")


def requests(data: bytes) -> list[Any]:
    return [codec.decode_request(payload) for payload in FrameReader(wire.FRAME_LIMIT).feed(data)]


def ask(
    session: Session, request: wire.Message, answers: list[Any], repeat: bool = True, until: float = NEVER
) -> bytes:
    return session.ask(request, answers.append, repeat=repeat, until=until)


def test_a_conversation() -> None:
    session, answers = Session("test", lambda reply: None), list[Any]()
    assert ask(session, wire.Stats(session.number()), answers) == b""
    hello, stats = requests(session.begin())
    assert isinstance(hello, wire.Hello)
    assert hello.version == wire.VERSION
    assert stats == wire.Stats(1)
    session.received(codec.framed(wire.Welcome(hello.n, 1, 15.0)) + codec.framed(wire.Facts(1, {"a": {"queued": 1}})))
    assert answers == [wire.Facts(1, {"a": {"queued": 1}})]
    assert session.welcome is not None


def test_a_break_repeats_what_may_be_repeated_and_fails_the_rest() -> None:
    session, safe, unsafe = Session("test", lambda reply: None), list[Any](), list[Any]()
    session.begin()
    ask(session, wire.Get(1, "a"), safe)
    ask(session, wire.Append(2, "s", []), unsafe, repeat=False)
    session.lost()
    assert [type(answer) for answer in unsafe] == [EngineGone]
    assert safe == []
    assert requests(session.begin())[1:] == [wire.Get(1, "a")]


def test_without_a_connection_what_may_not_be_repeated_is_refused_at_once() -> None:
    session, answers = Session("test", lambda reply: None), list[Any]()
    assert ask(session, wire.Append(1, "s", []), answers, repeat=False) == b""
    assert isinstance(answers[0], Unavailable)
    assert not isinstance(answers[0], EngineGone)


def test_deadlines() -> None:
    session, early, late = Session("test", lambda reply: None), list[Any](), list[Any]()
    ask(session, wire.Get(1, "a"), early, until=5.0)
    ask(session, wire.Get(2, "b"), late, until=9.0)
    session.overdue(5.0)
    assert isinstance(early[0], Unavailable)
    assert late == []


def test_an_unwanted_request_is_not_repeated_but_its_late_reply_is_heard() -> None:
    session, answers = Session("test", lambda reply: None), list[Any]()
    session.begin()
    ask(session, wire.Take(1, "w", ["*"], 1), answers)
    session.unwanted(1)
    session.received(codec.framed(wire.Claims(1, [])))
    assert answers == [wire.Claims(1, [])]
    ask(session, wire.Take(2, "w", ["*"], 1), answers)
    session.unwanted(2)
    session.lost()
    assert isinstance(answers[-1], EngineGone)
    assert len(requests(session.begin())) == 1


def test_errors_keep_their_kind_and_their_advice() -> None:
    reply = codec.failed(7, QueueFull("full", retry_after=2.5))
    error = codec.raised(codec.decode_reply(codec.encode(reply)))  # type: ignore[arg-type]
    assert isinstance(error, QueueFull)
    assert (str(error), error.retry_after) == ("full", 2.5)


def test_the_hello_tells_what_a_worker_holds() -> None:
    session = Session("w1", lambda reply: None, "w1")
    session.held["job"] = 4
    (hello,) = requests(session.begin())
    assert (hello.worker, hello.held) == ("w1", {"job": 4})


@pytest.mark.parametrize("seed", range(20))
def test_nonsense_is_a_protocol_error_and_nothing_else(seed: int) -> None:
    noise = random.Random(seed)
    session = Session("test", lambda reply: None)
    session.begin()
    with pytest.raises(ProtocolError):
        session.received(frame(b"\xc1" + noise.randbytes(noise.randrange(200))))
    for decode in (codec.decode_request, codec.decode_reply):
        with pytest.raises(ProtocolError):
            decode(msgspec.msgpack.encode(["no such message", noise.random()]))


def test_pieces_of_any_size_are_the_same_conversation() -> None:
    stream = b"".join(codec.framed(wire.Number(n, n * n)) for n in range(1, 50))
    session, answers = Session("test", lambda reply: None), list[Any]()
    session.begin()
    for n in range(1, 50):
        ask(session, wire.Abandon(n, "w"), answers)
    cuts = random.Random(3)
    while stream:
        size = cuts.randrange(1, 9)
        session.received(stream[:size])
        stream = stream[size:]
    assert [answer.value for answer in answers] == [n * n for n in range(1, 50)]
