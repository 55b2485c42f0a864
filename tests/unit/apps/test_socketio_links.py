"""Which gateways an app worker's Socket.IO server tells and asks, and that it waits for those that are behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from headgate.apps.environ import EnvironMaker
from headgate.apps.socketio import links as links_module
from headgate.apps.socketio.links import MOST_BACKLOG, LinkOutlet
from headgate.base.errors import Unavailable
from headgate.link.messages import VERSION, GatewayHello
from headgate.link.socketio import SioEmit, SioOrder, SioQuery, SioReply, new_id


class Gateway:
    """A link to a gateway that answers questions with its number."""

    def __init__(self, number: int, outlet: LinkOutlet) -> None:
        self.gateway: GatewayHello | None = GatewayHello(VERSION, number, 1, "")
        self.heard: list[Any] = []
        self.backlog = 0
        self.waited = 0
        self.deaf = False
        self._outlet = outlet
        self.send: Callable[[Any], None] = self._send

    def _send(self, message: Any) -> None:
        self.heard.append(message)
        if isinstance(message, SioQuery) and not self.deaf and self.gateway is not None:
            reply = SioReply(message.query, [self.gateway.gateway, message.kind])
            threading.Thread(target=self._outlet.replied, args=(reply,)).start()

    def waits(self) -> None:
        self.waited += 1


@pytest.fixture
def outlet() -> LinkOutlet:
    return LinkOutlet(EnvironMaker())


@pytest.fixture
def gateways(outlet: LinkOutlet) -> list[Gateway]:
    made = [Gateway(number, outlet) for number in range(3)]
    outlet.attach(lambda: made)
    return made


def emit(*rooms: Any, callback: int = 0) -> SioEmit:
    return SioEmit("/", list(rooms) or None, [], '2["x"]', [], callback)


def test_a_sid_is_for_its_gateway_and_a_room_for_all(outlet: LinkOutlet, gateways: list[Gateway]) -> None:
    sid = new_id(1)
    messages = [emit(sid), emit("a room"), emit(), emit(sid, new_id(2)), emit("01~notasid")]
    for message in messages:
        outlet.emit(message)
    outlet.order(SioOrder("join", "/", new_id(2), "r"))
    outlet.order(SioOrder("close_room", "/", "", "r"))
    assert [len(one.heard) for one in gateways] == [5, 6, 6]
    outlet.emit(emit(new_id(9)))
    assert [len(one.heard) for one in gateways] == [5, 6, 6], "a gateway that is gone has no clients"


def test_questions(outlet: LinkOutlet, gateways: list[Gateway]) -> None:
    assert outlet.ask("rooms", "/", new_id(2)) == [[2, "rooms"]]
    assert outlet.ask("participants", "/", "", ["r"]) == [[number, "participants"] for number in range(3)]
    assert all(one.waited for one in gateways), "whoever asks must not be the one that reads"


def test_a_gateway_that_does_not_answer(
    outlet: LinkOutlet, gateways: list[Gateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links_module, "LOOK", 0.01)
    monkeypatch.setattr(links_module, "ANSWER", 0.05)
    gateways[1].deaf = True
    with pytest.raises(Unavailable):
        outlet.ask("rooms", "/", new_id(1))
    gone = gateways.pop(1)
    outlet.attach(lambda: [*gateways, gone] if not gone.waited else gateways)
    assert outlet.ask("namespaces", "", "") == [[0, "namespaces"], [2, "namespaces"]]


def test_callbacks(outlet: LinkOutlet, gateways: list[Gateway], monkeypatch: pytest.MonkeyPatch) -> None:
    single, several = outlet.expect(len), outlet.expect(max)
    outlet.emit(emit(new_id(0), callback=single))
    outlet.emit(emit("room", callback=several))
    assert [outlet.callback(single), outlet.callback(single)] == [len, None], "one client answers once"
    assert [outlet.callback(several), outlet.callback(several)] == [max, max], "of a room each member answers"
    monkeypatch.setattr(links_module, "MOST_CALLBACKS", 2)
    outlet.expect(min)
    outlet.expect(sum)
    assert outlet.callback(several) is None, "the oldest of too many is forgotten"


def test_an_emitter_waits_for_a_gateway_that_is_behind(outlet: LinkOutlet, gateways: list[Gateway]) -> None:
    behind = gateways[1]
    behind.backlog = MOST_BACKLOG + 1
    done = threading.Event()

    def send() -> None:
        outlet.emit(emit())
        done.set()

    threading.Thread(target=send).start()
    assert not done.wait(0.05)
    behind.backlog = 0
    assert done.wait(10)
    assert (behind.waited, gateways[0].waited) == (1, 0)
