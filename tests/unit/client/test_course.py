"""Following over HTTP without a network: pieces, offsets, failures."""

from __future__ import annotations

import json
import random

import h11
import pytest

from headgate.base.errors import HeadgateError, Unavailable, UnknownStream
from headgate.client.course import Course, Event, Target
from headgate.client.wire import Closed, Lines, Pieces, Refused

JOB = "http://shop.example:8000/app/-/jobs/0192?token=t"
STREAM = "https://shop.example/-/streams/imports/7?token=t&offset=5&live=long-poll"


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def course(address: str = STREAM, from_: int | str = -1, time: Time | None = None) -> Course:
    return Course(Target(address, {}), from_, 10.0, time or Time())


def test_addresses() -> None:
    job = Target(JOB, {})
    assert (job.secure, job.host, job.port, job.netloc) == (False, "shop.example", 8000, "shop.example:8000")
    assert job.path("-1") == "/app/-/streams/jobs/0192?token=t&live=sse&offset=-1"
    stream = Target(STREAM, {})
    assert (stream.secure, stream.port) == (True, 443)
    assert stream.path("0" * 16) == "/-/streams/imports/7?token=t&live=sse&offset=" + "0" * 16
    for wrong in ("/-/jobs/0192?token=t", "http://shop.example/orders"):
        with pytest.raises(ValueError, match="address"):
            Target(wrong, {})


@pytest.mark.parametrize("seed", range(20))
def test_pieces_of_any_size_make_the_same_events(seed: int) -> None:
    cut = random.Random(seed)
    text = ": a comment\nretry: 5\n\nid: 3\nevent: data\ndata: one\ndata:two\n\nevent: control\ndata:é\n\n"
    text += "id: 4\r\ndata: x\r\n\r\n"
    data, lines, got = text.encode(), Lines(), []
    while data:
        size = cut.randint(1, 9)
        got += list(lines.feed(data[:size]))
        data = data[size:]
    assert got == [("data", "one\ntwo", "3"), ("control", "é", "3"), ("", "x", "4")]


def said(kind: str, data: str, offset: int) -> bytes:
    return f"id: {offset:016d}\nevent: {kind}\ndata:{data}\n\n".encode()


def test_bare_messages_have_their_offsets_and_come_once() -> None:
    one = course()
    events = list(one.feed(said("data", "[1,2,3]", 7)))
    assert events == [Event(f"{at:016d}", "message", at - 4) for at in (5, 6, 7)]
    assert list(one.feed(said("data", "[2,3,4]", 8))) == [Event("0000000000000008", "message", 4)]
    assert one.path().endswith("offset=0000000000000008")


def test_an_event_with_a_kind_of_its_own_comes_in_an_envelope_among_bare_ones() -> None:
    one = course()
    envelope = '{"offset":"0000000000000002","event":"moved","data":{"x":1},"at":1.5}'
    events = list(one.feed(said("data", f"[5,{envelope}]", 2)))
    assert events[1] == Event("0000000000000002", "moved", {"x": 1}, 1.5)
    assert events[0] == Event("0000000000000001", "message", 5)


@pytest.mark.parametrize(
    "record",
    [
        {"offset": 5, "event": "click", "data": {}},
        {"offset": 5, "event": "click", "data": {}, "at": 1.5},
        {"offset": "5", "event": "click", "data": {}, "at": 1.5},
        {"offset": "0000000000000009", "event": "click", "data": {}},
        {"offset": "0000000000000009", "event": "click", "data": {}, "at": 1.5, "user": 1},
        {"offset": "0000000000000009", "event": 7, "data": {}, "at": 1.5},
    ],
)
def test_a_users_record_that_looks_like_an_envelope_is_data(record: dict[str, object]) -> None:
    one = course()
    assert list(one.feed(said("data", json.dumps([record]), 3))) == [Event("0000000000000003", "message", record)]
    assert one.offset == "0000000000000003"


@pytest.mark.parametrize("data", ["some text", "aGVsbG8gd29ybGQ="])
def test_a_stream_that_is_no_json_says_so(data: str) -> None:
    with pytest.raises(HeadgateError, match=r"holds no JSON .* by GET"):
        list(course().feed(said("data", data, 1)))


def test_the_end_of_a_job() -> None:
    one = course(JOB)
    envelope = '[{"offset":"0000000000000004","event":"result","data":{"result":5},"at":1.5,"terminal":true}]'
    assert list(one.feed(said("data", envelope, 4))) == [Event("0000000000000004", "result", {"result": 5}, 1.5, True)]
    assert one.done


def test_a_stream_that_was_closed_or_is_gone_or_cut() -> None:
    one = course()
    assert [event.kind for event in one.feed(said("truncated", '{"reason":"r"}', 10))] == ["truncated"]
    assert one.offset == "0000000000000010"
    list(one.feed(said("control", '{"streamNextOffset":"0000000000000011","streamClosed":true}', 11)))
    assert (one.done, one.offset) == (True, "0000000000000011")
    other = course()
    (gone,) = other.feed(said("gone", '{"reason":"deleted"}', 0))
    assert (gone.terminal, other.done) == (True, True)


def test_failures_wait_longer_and_longer_and_end() -> None:
    time = Time()
    one = course(time=time)
    waits = []
    for _ in range(6):
        one.failed(OSError("refused"))
        waits.append(one.wait())
    assert 0.1 < waits[0] < 0.3
    assert 2.0 < waits[-1] <= 8.0
    time.now = 11.0
    with pytest.raises(Unavailable, match="offset -1 is where to go on"):
        one.failed(OSError("refused"))


def test_what_the_server_says_against_it() -> None:
    with pytest.raises(UnknownStream):
        list(course().refused(Refused(404, {}, b"{}")))
    with pytest.raises(HeadgateError, match="400"):
        list(course().refused(Refused(400, {}, b"bad offset")))
    busy = course()
    list(busy.refused(Refused(503, {"Retry-After": "3"}, b"")))
    assert busy.wait() == 3.0


def answer(status: int, *parts: bytes, whole: bool = True) -> bytes:
    server = h11.Connection(h11.SERVER)
    server.receive_data(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    server.next_event()
    server.next_event()
    out = server.send(h11.Response(status_code=status, headers=[("transfer-encoding", "chunked")])) or b""
    for part in parts:
        out += server.send(h11.Data(data=part)) or b""
    return out + (server.send(h11.EndOfMessage()) or b"") if whole else out


def test_an_answer_in_pieces() -> None:
    pieces = Pieces()
    assert pieces.request("/x", {"Host": "a"}).startswith(b"GET /x HTTP/1.1\r\n")
    data = answer(200, b"one", b"two")
    got = [bytes(part) for at in range(0, len(data), 5) for part in pieces.take(data[at : at + 5])]
    assert b"".join(got) == b"onetwo"
    assert pieces.over


def test_an_answer_that_is_cut_or_refused() -> None:
    cut = Pieces()
    cut.request("/", {"Host": "a"})
    assert list(cut.take(answer(200, b"one", whole=False))) == [b"one"]
    with pytest.raises(Closed):
        list(cut.take(b""))
    refused = Pieces()
    refused.request("/", {"Host": "a"})
    with pytest.raises(Refused, match="not_found"):
        list(refused.take(answer(404, b'{"error":"not_found"}')))
