"""The pure parts of the HTTP face: what is asked, and how it is shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headgate.base.model import Event
from headgate.base.streams import Producer
from headgate.gateway.streams import asked, shown
from headgate.gateway.streams.asked import Malformed


@pytest.mark.parametrize("path", ["", "/x", "__ds/subscriptions/a", "a" * 513, "a\nb"])
def test_what_is_no_name(path: str) -> None:
    assert asked.name_of(asked.PREFIX + path) is None


@pytest.mark.parametrize("query", [b"offset=", b"offset=1&offset=2", b"live=sse", b"offset=a,b", b"offset=0&live=now"])
def test_queries_that_are_refused(query: bytes) -> None:
    with pytest.raises(Malformed):
        asked.query_of(query)


def test_offsets() -> None:
    assert asked.position(None) == asked.position("-1") == asked.position("0" * 16 + "_" + "0" * 16) == 0
    assert asked.position("0000000000000042") == 42
    assert asked.position("now") is None


@pytest.mark.parametrize(
    "headers",
    [
        [(b"producer-id", b"a")],
        [(b"producer-id", b""), (b"producer-epoch", b"0"), (b"producer-seq", b"0")],
        [(b"producer-id", b"a"), (b"producer-epoch", b"01"), (b"producer-seq", b"0")],
        [(b"producer-id", b"a"), (b"producer-epoch", b"0"), (b"producer-seq", b"9007199254740992")],
    ],
)
def test_producers_that_are_refused(headers: asked.Headers) -> None:
    with pytest.raises(Malformed):
        asked.producer_of(headers)


def test_a_producer() -> None:
    headers = [(b"producer-id", b"a"), (b"producer-epoch", b"2"), (b"producer-seq", b"7")]
    assert asked.producer_of(headers) == Producer("a", 2, 7)
    assert asked.producer_of([]) is None


def test_the_source_of_a_fork_may_be_a_path_or_a_name() -> None:
    for source in (b"/-/streams/a/b%20c", b"/a/b c", b"a/b c"):
        assert asked.spec_of([(b"stream-forked-from", source)]).source == "a/b c"


def test_json_is_taken_apart_by_one_level() -> None:
    events = asked.events_of("application/json", b"[[1,2],{}]")
    assert [bytes(event.data) for event in events] == [b"\x92\x01\x02", b"\x80"]
    for body in (b"[]", b"{", b"\xff", b"123456789012345678901234567890", b"[" * 3000 + b"]" * 3000):
        with pytest.raises(Malformed):
            asked.events_of("application/json", body)


def event(offset: int, data: Any, kind: str = "message", terminal: bool = False) -> Event:
    return Event(offset, kind, data, 1.5, terminal)


def test_bare_messages_and_envelopes() -> None:
    both = [event(1, {"a": 1}), event(2, {"done": 5}, "progress"), event(3, [], "end", terminal=True)]
    told = json.loads(shown.body("s", "application/json", both))
    assert told[0] == {"a": 1}
    assert told[1] == {"offset": "0000000000000002", "event": "progress", "data": {"done": 5}, "at": 1.5}
    assert told[2]["terminal"] is True
    assert json.loads(shown.body("jobs/1", "application/json", both))[0]["event"] == "message"


def test_a_traceback_stays_here() -> None:
    failed = event(1, {"type": "E", "message": "m", "traceback": "secret"}, "failed", terminal=True)
    assert b"secret" not in shown.body("jobs/1", "application/json", [failed])


@pytest.mark.parametrize("text", ["a\nb", "a\r\nevent: control\r\n\r\nb", " leading", "\r", ""])
def test_text_cannot_leave_its_event(text: str) -> None:
    lines = shown.data_event("text/plain", text.encode(), 7).decode().split("\n")
    assert lines[:2] == ["id: 0000000000000007", "event: data"]
    assert all(line.startswith("data:") for line in lines[2:-2])
    read = [line[5:].removeprefix(" ") for line in lines[2:-2]]
    assert "\n".join(read) == text.replace("\r\n", "\n").replace("\r", "\n")


def test_cursors_never_go_back() -> None:
    now = shown.EPOCH + 1000 * shown.INTERVAL
    assert shown.cursor(now, "", 0.5) == "1000"
    assert shown.cursor(now, "999", 0.5) == "1000"
    assert int(shown.cursor(now, "1000", 0.0)) == 1001
    assert int(shown.cursor(now, "5000", 0.99)) > 5000
    assert shown.cursor(now, "nonsense", 0.0) == "1000"
