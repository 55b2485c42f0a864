"""Who is in which room; and a client that does not read what is sent to it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headgate.gateway.socketio import rooms as rooms_module
from headgate.gateway.socketio.client import OPEN, Client
from headgate.gateway.socketio.codec import Parcel
from headgate.gateway.socketio.fanout import TURN, Fanout
from headgate.gateway.socketio.rooms import Rooms
from headgate.gateway.socketio.session import Session, Terms

pytestmark = pytest.mark.anyio


class Wire:
    """A WebSocket whose client reads when the test says so."""

    def __init__(self) -> None:
        self.blocked = False
        self.open = self.reading = True
        self.sent = 0
        self.closed: tuple[int, str] | None = None
        self.peer: Any = None

    def write(self, frame: bytes) -> None:
        self.sent += len(frame)

    def close(self, code: int, reason: str = "") -> None:
        self.open, self.closed = False, (code, reason)

    def buffered(self) -> int:
        return 0


class App:
    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.slow = 0

    def received(self, session: Session, data: str | bytes) -> None: ...

    def closed(self, session: Session, reason: str) -> None:
        self.reasons.append(reason)

    def overflowed(self, session: Session) -> None:
        self.slow += 1


def session(app: App, wire: Wire | None, limit: int = 100_000) -> Session:
    terms = Terms(25.0, 20.0, 1_000_000, limit, 60.0)
    made = Session("eio", terms, app, asyncio.get_running_loop(), b"", lambda _: None)
    if wire is not None:
        made.attach(wire)  # type: ignore[arg-type]
    return made


def client(rooms: Rooms, sid: str, namespace: str = "/", one: Any = None) -> Client:
    made = Client(sid, namespace, one)
    made.held, made.state = None, OPEN
    rooms.add(made)
    return made


async def test_rooms() -> None:
    rooms = Rooms()
    a, b, c = (client(rooms, name) for name in "abc")
    other = client(rooms, "d", "/other")
    for member in (a, b):
        rooms.join(member, "r")
    rooms.join(c, 5)
    rooms.join(other, "r")
    assert rooms.members("/", None) == [a, b, c]
    assert rooms.members("/", ["r"]) == [a, b]
    assert rooms.members("/", ["r", 5, "r"], ["a"]) == [b, c]
    assert rooms.members("/", ["5", "nobody"]) == []
    assert rooms.members("/", ["c"]) == [c], "a sid is a room with one member"
    assert rooms.members("/", ["d"]) == [], "of its own namespace only"
    assert rooms.members("/other", ["r"]) == [other]
    rooms.leave(a, "r")
    rooms.remove(b)
    assert rooms.members("/", ["r"]) == []
    rooms.close("/other", "r")
    assert (other.rooms, rooms.rooms) == ({}, 1)
    for member in (a, c, other):
        rooms.remove(member)
    assert (len(rooms), rooms.rooms, rooms.namespaces()) == (0, 0, [])


async def test_a_bound_on_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms_module, "MOST_ROOMS", 2)
    rooms = Rooms()
    one = client(rooms, "a")
    assert [rooms.join(one, number) for number in range(3)] == [True, True, False]


async def test_a_client_that_does_not_read_is_closed_at_the_bound() -> None:
    app, wire = App(), Wire()
    one = session(app, wire)
    wire.blocked = True
    parcel = Parcel("2" + "x" * 9_999)
    for _ in range(9):
        one.send(parcel)
    assert one.waiting_bytes < 100_000
    assert not app.reasons
    one.send(parcel)
    assert wire.closed is not None
    assert wire.closed[0] == 4008
    assert (app.reasons, app.slow, one.waiting_bytes) == (["transport error"], 1, 0)


async def test_or_loses_the_oldest_of_what_may_be_lost() -> None:
    app, wire = App(), Wire()
    one = session(app, wire)
    wire.blocked = True
    for _ in range(100):
        one.send(Parcel("2" + "x" * 9_999), droppable=True)
    one.send(Parcel("2kept"))
    assert (wire.closed, app.slow) == (None, 0)
    assert one.dropped >= 90
    assert one.waiting_bytes <= 100_000
    wire.blocked = False
    one.writable()
    assert one.waiting_bytes == 0
    assert 0 < wire.sent <= 100_000


async def test_a_polling_client_that_does_not_poll() -> None:
    app = App()
    one = session(app, None)
    for _ in range(11):
        one.send(Parcel("2" + "x" * 9_999))
    assert (one.closed, app.reasons) == (True, ["transport error"])


async def test_what_waits_for_the_connect_handler_is_bounded() -> None:
    app, wire = App(), Wire()
    waiting = Client("a", "/", session(app, wire))
    for _ in range(20):
        waiting.send(Parcel("2" + "x" * 9_999))
    assert (app.slow, wire.closed is not None) == (1, True)


async def test_a_large_room_is_served_in_parts_and_in_order() -> None:
    rooms, got = Rooms(), []
    fanout = Fanout()

    class Noting:
        def __init__(self, number: int) -> None:
            self.number = number

        def send(self, parcel: Parcel, *, droppable: bool = False) -> None:
            got.append((self.number, str(parcel.packet)))

    crowd = [client(rooms, str(number), one=Noting(number)) for number in range(TURN * 2 + 10)]
    fanout.deliver(Parcel("first"), crowd)
    fanout.deliver(Parcel("second"), crowd[:1])
    assert got == [], "nothing overtakes"
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(got) == len(crowd) + 1
    assert [number for number, text in got if text == "first"] == list(range(len(crowd)))
    assert got[-1] == (0, "second")
    fanout.deliver(Parcel("third"), crowd)
    fanout.flush()
    assert len([one for one in got if one[1] == "third"]) == len(crowd)
    assert fanout.delivered == len(got)
