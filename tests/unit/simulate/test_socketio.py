"""The Socket.IO conversation, packet by packet."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.simulate.builtin_socketio import SocketIoClicks
from headgate.simulate.errors import TargetError
from headgate.simulate.scenario import Reply, User
from headgate.simulate.wire.socketio import Address, Emit, Session, SocketIoMessage

pytestmark = pytest.mark.anyio


def session(path: str = "", auth: Any = None) -> tuple[Session, list[str], list[SocketIoMessage]]:
    sent: list[str] = []
    heard: list[SocketIoMessage] = []
    address = Address(f"ws://h:1/{path}", "socket.io", "websocket", auth)
    return Session(address, sent.append, lambda message, _: heard.append(message)), sent, heard


async def test_opening_and_connecting() -> None:
    talk, sent, _ = session("chat", {"token": "t"})
    talk.packet('0{"sid":"abc","upgrades":[]}', 0)
    assert (talk.sid, sent) == ("abc", ['40/chat,{"token":"t"}'])
    talk.packet('40/chat,{"sid":"xyz"}', 0)
    assert talk.connected.done()
    assert talk.connected.result() is None


async def test_a_refusal_is_an_error() -> None:
    talk, _, _ = session()
    talk.packet('44{"message":"go away"}', 0)
    with pytest.raises(TargetError, match="go away"):
        await talk.connected


async def test_pings_are_answered() -> None:
    talk, sent, _ = session()
    talk.packet("2", 0)
    talk.packet("2probe", 0)
    assert sent == ["3", "3probe"]


@pytest.mark.parametrize(
    ("message", "click", "packet"),
    [
        (Emit("click", [{"id": 7}], ack=True), 7, '427["click",{"id":7}]'),
        (Emit("click", [{"id": 7}]), 7, '42["click",{"id":7}]'),
        (["hello", 1, "x"], None, '42["hello",1,"x"]'),
        (["hello"], 9, '429["hello"]'),
    ],
)
async def test_events_are_sent(message: Any, click: int | None, packet: str) -> None:
    talk, sent, _ = session()
    talk.emit(message, click)
    assert sent == [packet]


async def test_what_is_no_event_is_refused() -> None:
    talk, _, _ = session()
    with pytest.raises(TypeError, match="Emit"):
        talk.emit({"id": 1}, 1)


async def test_events_and_acknowledgements_are_heard() -> None:
    talk, _, heard = session("chat")
    talk.packet('42/chat,["news",{"a":1},2]', 0)
    talk.packet("43/chat,12[true]", 0)
    assert heard == [SocketIoMessage("event", "news", [{"a": 1}, 2]), SocketIoMessage("ack", "", [True], 12)]


async def test_binary_parts_are_put_in_their_places() -> None:
    talk, _, heard = session()
    talk.packet('452-["file",{"a":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":0}]', 0)
    talk.packet(b"first", 0)
    assert heard == []
    talk.packet(b"second", 0)
    assert heard == [SocketIoMessage("event", "file", [{"a": b"second"}, b"first"])]


@pytest.mark.parametrize("packet", ["1", "41"])
async def test_a_goodbye_is_noticed(packet: str) -> None:
    talk, _, _ = session()
    talk.packet(packet, 0)
    assert talk.left


async def test_addresses() -> None:
    assert (
        Address("https://h/ns", "/my/io/", "polling").url("s 1") == "https://h/my/io/?EIO=4&transport=polling&sid=s%201"
    )
    assert Address("https://h", "socket.io", "websocket").url() == "wss://h/socket.io/?EIO=4&transport=websocket"
    assert Address("ws://h", "socket.io", "polling").namespace == "/"


def read(message: SocketIoMessage, **params: Any) -> Reply | None:
    scenario = SocketIoClicks(params)
    return scenario.read(User(0, None), message)  # type: ignore[arg-type]


async def test_the_built_in_scenario_takes_acknowledgements_or_events() -> None:
    ack = SocketIoMessage("ack", "", [{"job_id": "j"}], 3)
    event = SocketIoMessage("event", "answered", [{"id": 3}])
    done = SocketIoMessage(
        "event", "any", [{"headgate": "event", "stream": "jobs/j", "event": "result", "offset": "1"}]
    )
    assert read(ack) == Reply("answer", id=3, job="j")
    assert read(SocketIoMessage("ack", "", [], 3)) == Reply("answer", id=3)
    assert read(event) is None
    assert read(event, ack=False) == Reply("answer", id=3)
    assert read(done) == Reply("result", stream="jobs/j", offset="1")
