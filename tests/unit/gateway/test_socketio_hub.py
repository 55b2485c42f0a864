"""Clients that come, go and come back while the lanes are full, against an exchange that the test fills and empties."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headgate.base.errors import Full
from headgate.gateway.socketio import codec
from headgate.gateway.socketio.hub import MOST_NAMESPACES, Hub
from headgate.gateway.socketio.recovery import Recovery
from headgate.gateway.socketio.session import Session, Terms
from headgate.link.socketio import SioDone, SioServer

pytestmark = pytest.mark.anyio


def server(events: list[str]) -> SioServer:
    return SioServer(
        "/socket.io/", 25.0, 20.0, 1_000_000, ["polling", "websocket"], True, "", None, False, False, False, 0,
        "default", {"*": events}, None, False, False,
    )  # fmt: skip


class Lanes:
    """The exchange, as far as the hub needs it."""

    def __init__(self) -> None:
        self.started: list[Any] = []
        self.full = False
        self.links: dict[str, Any] = {}
        self.on_socketio: Any = None
        self.on_socketio_server: Any = None

    def submit(self, task: Any) -> None:
        if self.full:
            raise Full("no slot", retry_after=1.0)
        self.started.append(task)

    def end(self, *_: Any) -> None:
        """A slot is free."""


class Scene:
    """A hub and its sessions."""

    def __init__(self, *events: str, recovery: float = 0.0) -> None:
        self.lanes = Lanes()
        self.hub = Hub(self.lanes, 0, inbox=100, recovery=Recovery(recovery))  # type: ignore[arg-type]
        self.hub.serves(server(list(events)))

    def session(self) -> Session:
        terms = Terms(25.0, 20.0, 1_000_000, 10_000_000, 60.0)
        one = Session("eio", terms, self.hub, asyncio.get_running_loop(), b"", lambda _: None)
        self.hub.opened(one)
        return one

    def end(self, *, accepted: bool = True, packet: str | None = None) -> None:
        """The oldest event that runs ends."""
        task = self.lanes.started.pop(0)
        task.take(SioDone(task.stream, task.handler, accepted, packet, [], {}, 0.001))

    def pump(self) -> None:
        """What the retry timers would do."""
        for client in list(self.hub.rooms.clients.values()):
            if client.timer is not None:
                client.timer.cancel()
                client.timer = None
            self.hub._turns.pump(client)


async def test_a_session_that_joins_and_leaves_while_the_lane_is_full_is_ended_at_the_bound() -> None:
    scene = Scene("connect", "disconnect")
    scene.lanes.full = True
    one = scene.session()
    for _ in range(10 * MOST_NAMESPACES):
        one.message("40")
        one.message("41")
        if one.closed:
            break
    assert one.closed
    assert len(scene.hub.rooms) == MOST_NAMESPACES == one.data.leaving


@pytest.mark.parametrize("accepted", [True, False])
async def test_the_count_of_those_that_leave_comes_back_to_nothing(accepted: bool) -> None:
    scene = Scene("connect", "disconnect")
    scene.lanes.full = True
    one = scene.session()
    for number in range(MOST_NAMESPACES):
        one.message(f"40/n{number},")
        one.message(f"41/n{number},")
    assert one.data.leaving == MOST_NAMESPACES
    scene.lanes.full = False
    for _ in range(2):
        scene.pump()
        while scene.lanes.started:
            scene.end(accepted=accepted)
    assert (one.data.leaving, len(scene.hub.rooms), one.closed) == (0, 0, False)
    one.message("40/again,")
    assert (len(scene.hub.rooms), one.closed) == (1, False)


async def test_joining_and_leaving_without_handlers_has_no_end() -> None:
    scene = Scene()
    one = scene.session()
    for _ in range(3 * MOST_NAMESPACES):
        one.message("40")
        one.message("41")
    assert (one.data.leaving, len(scene.hub.rooms), one.closed) == (0, 0, False)


async def test_an_offset_of_thousands_of_digits_is_no_error() -> None:
    scene = Scene(recovery=60.0)
    old = scene.session()
    old.message("40")
    pid = old.data.clients["/"].pid
    old.close("transport close")
    new = scene.session()
    new.message(f'40{{"pid":"{pid}","offset":"{scene.hub.recovery.boot}.{"9" * 5000}"}}')
    assert new.data.clients["/"].recovered


async def test_who_waits_for_the_place_of_a_client_that_is_turned_away_begins_anew() -> None:
    scene = Scene("connect", recovery=60.0)
    old = scene.session()
    old.message("40")
    pid = old.data.clients["/"].pid
    new = scene.session()
    new.message(f'40{{"pid":"{pid}"}}')
    assert old.closed
    assert not new.data.clients, "the old one's connect handler runs still"
    scene.end(accepted=False, packet=codec.packet_of(codec.CONNECT_ERROR, "/", {"message": "no"}, "default"))  # type: ignore[arg-type]
    assert not scene.hub._heirs
    assert [client.session for client in scene.hub.rooms.clients.values()] == [new]
    scene.end()
    assert new.data.clients["/"].accepted


async def test_who_waits_and_begins_anew_meanwhile_is_there_once() -> None:
    scene = Scene("connect", recovery=60.0)
    old = scene.session()
    old.message("40")
    pid = old.data.clients["/"].pid
    new = scene.session()
    new.message(f'40{{"pid":"{pid}"}}')
    new.message("40")
    assert len(new.data.clients) == 1
    scene.end(accepted=False)
    assert list(scene.hub.rooms.clients.values()) == list(new.data.clients.values())
