"""`gate.stream` and `publish(…, history=)` on a whole engine in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import flask
import pytest

from headgate.base.errors import ConfigError, StreamConflict, StreamEnded, Unavailable, UnknownStream
from headgate.base.tokens import Tokens
from headgate.declare import binding
from headgate.declare.extension import Headgate
from headgate.declare.socket import Socket
from headgate.declare.stream import Stream, offset_of
from headgate.drivers.bridge import Bridge
from headgate.drivers.memory import MemoryEngine


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    made = Bridge(MemoryEngine())
    made.open()
    binding.bind(made, secret="shared", root_path="/desk")
    yield made
    binding.unbind()
    made.close()


pytestmark = pytest.mark.usefixtures("bridge")


def data(stream: Stream) -> list[Any]:
    return [event.data for event in stream.read().events]


def test_append_read_follow_and_end() -> None:
    stream = Headgate().stream("imports/7")
    assert stream.append({"row": 1}) == "0000000000000001"
    assert stream.extend([2, 3], kind="row") == "0000000000000003"
    assert [event.kind for event in stream.read(from_="0000000000000001").events] == ["row", "row"]
    stream.close()
    stream.close()
    assert [event.offset for event in stream.follow(from_=1, timeout=10)] == [2, 3, 4]
    with pytest.raises(StreamEnded):
        stream.append(4)
    stream.delete()
    with pytest.raises(UnknownStream):
        stream.read()


def test_the_last_event_may_end_it() -> None:
    stream = Stream("s")
    stream.append("only", end=True)
    assert stream.read().ended


def test_a_replay_of_a_source_is_appended_once() -> None:
    for upto in (3, 5):  # the importer died after three lines, and begins anew
        stream = Headgate().stream("lines", producer="importer", epoch=0)
        for number in range(upto):
            stream.append(f"line {number}", seq=number)
    assert data(Stream("lines")) == [f"line {number}" for number in range(5)]
    with pytest.raises(StreamConflict, match="number 5 next"):
        Stream("lines", producer="importer", epoch=0).append("x", seq=7)


def test_the_newest_process_wins() -> None:
    old, new = Stream("s", producer="p", epoch=1), Stream("s", producer="p", epoch=2)
    old.append("old")
    new.append("new")
    with pytest.raises(StreamConflict, match="epoch 2"):
        old.append("too late")
    assert data(new) == ["old", "new"]


def test_an_append_whose_fate_is_unknown_is_neither_taken_for_the_next_nor_in_its_way(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream("s", producer="p", epoch=1)
    stream.append("a")
    write = bridge.write

    def lost(name: str, asked: Any) -> Any:
        monkeypatch.setattr(bridge, "write", write)
        raise Unavailable("the answer was lost, or the request")

    monkeypatch.setattr(bridge, "write", lost)
    with pytest.raises(Unavailable):
        stream.append("b")
    stream.append("c")
    assert data(stream) == ["a", "c"]


def test_what_is_kept_can_be_said_of_each_stream() -> None:
    stream = Headgate().stream("short", events=10)
    for number in range(40):
        stream.append(number)
    batch = stream.read()
    assert "keeps 10 events" in str(batch.truncated)
    assert len(batch.events) <= 11


def test_published_history_can_be_read() -> None:
    gate = Headgate()
    for value in ({"n": 1}, "text", b"bytes"):
        gate.publish("room", value, history=2)
    assert data(gate.stream("channels/room"))[-2:] == ["text", b"bytes"]
    gate.publish("live", 1)
    with pytest.raises(UnknownStream):
        gate.stream("channels/live").read()


def test_addresses_are_signed_for_reading_or_writing() -> None:
    stream = Stream("a/b c")
    path, _, token = stream.url().partition("?token=")
    assert path == "/desk/-/streams/a/b%20c"
    assert Tokens("shared").allows(token, "stream", "a/b c")
    written = stream.url(60, write=True).partition("?token=")[2]
    assert not Tokens("shared").allows(written, "stream", "a/b c")
    assert Tokens("shared").allows(written, "stream-write", "a/b c")


class Outlet:
    def __init__(self) -> None:
        self.actions: list[Any] = []

    def effects(self, connection: str, actions: list[Any]) -> None:
        self.actions += actions


def test_a_socket_follows_a_stream_from_an_offset() -> None:
    outlet = Outlet()
    sock = Socket("c", None, {}, outlet)
    sock.follow(Stream("s"), from_="0000000000000007")
    sock.follow("t")
    sock.unfollow(Stream("s"))
    assert outlet.actions == [("follow", ["s", 7]), ("follow", ["t", 0]), ("unfollow", "s")]
    assert offset_of("-1") == 0
    with pytest.raises(ValueError, match="no offset"):
        sock.follow("t", from_="abc")


def test_the_hook_is_a_view_of_the_app() -> None:
    app = flask.Flask("desk")
    gate = Headgate(app)

    @gate.stream_access
    def allow(stream: str, access: str) -> bool:
        return flask.request.headers.get("x-user") == stream and access == "read"

    def status(stream: str, access: str) -> int:
        query = {"stream": stream, "access": access}
        return app.test_client().get("/-/streams-access", query_string=query, headers={"x-user": "ann"}).status_code

    assert (status("ann", "read"), status("ann", "write"), status("bob", "read")) == (204, 403, 403)
    with pytest.raises(ConfigError, match="Flask"):
        Headgate().stream_access(allow)


def test_kinds_that_tell_of_the_stream_itself_are_not_for_events() -> None:
    with pytest.raises(ValueError, match="name yours otherwise"):
        Stream("s").append(1, kind="truncated")
