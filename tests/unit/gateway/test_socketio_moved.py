"""Sessions that move between two gateways and back: where requests for them end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headgate.gateway.bodies import Pace
from headgate.gateway.exchange import Exchange
from headgate.gateway.socketio.front import Bounds, SocketIO, _Mover
from headgate.gateway.socketio.peers import Adopted, Handed
from headgate.gateway.socketio.session import Session
from headgate.gateway.wire import new_protocol
from headgate.link.socketio import SioServer, new_id

pytestmark = pytest.mark.anyio
SERVER = SioServer(
    "/socket.io/", 25.0, 20.0, 1_000_000, ["polling", "websocket"], True, "", None, False, False, False, 0,
    "default", {"*": []}, None, False, False,
)  # fmt: skip


class Silent:
    """An exchange that no app worker is linked to."""

    links: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it
    on_socketio: Any = None
    on_socketio_server: Any = None


class Connection:
    """The transport of a WebSocket that another gateway handed over."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = self.aborted = False
        self.protocol: Any = None

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, **_: int) -> None:
        """As large as it gets."""


def gateway(folder: Path, index: int, gateways: int = 2) -> SocketIO:
    bounds = Bounds(1_000_000, 60.0, 100, 1000, 60.0, False, Pace())
    exchange: Exchange = Silent()  # type: ignore[assignment]
    made = SocketIO(exchange, None, index, gateways, folder, bounds)  # type: ignore[arg-type]
    made.serves(SERVER)
    return made


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[SocketIO, SocketIO]]:
    here = os.open(tmp_path, os.O_RDONLY)  # the path of a socket has to be short
    pair = tuple(gateway(Path(f"/proc/self/fd/{here}"), index) for index in range(2))
    for one in pair:
        await one.start()
    yield pair[0], pair[1]
    for one in pair:
        await one.peers.close()
    os.close(here)


async def move(start: SocketIO, to: SocketIO, sid: str, index: int) -> Session:
    """Have a client of one gateway ask for its place on another; the session there."""
    one = start.sessions.get(sid)
    assert one is not None
    gone = asyncio.Event()
    left = start._left

    def done(*args: Any) -> None:
        left(*args)
        gone.set()

    start._left = done  # type: ignore[method-assign,assignment]
    one.message(f'40{{"pid":"{new_id(index)}"}}')
    await asyncio.wait_for(gone.wait(), 30)
    start._left = left  # type: ignore[method-assign]
    found = to.sessions.get(sid)
    assert found is not None
    return found


async def test_a_session_that_moves_and_comes_back_is_found(pair: tuple[SocketIO, SocketIO]) -> None:
    a, b = pair
    sid = a.sessions.new(msgspec.Raw(b"\xc0")).sid
    there = await move(a, b, sid, 1)
    assert a.peers.moved == {sid: 1}
    there.message("41")
    here = await move(b, a, sid, 0)
    assert (a.peers.moved, b.peers.moved) == ({}, {sid: 0})
    for one in pair:
        status, _ = await asyncio.wait_for(one.polling._posted(sid, b"2"), 30)
        assert status == 200
    here.close("transport close")
    for one in pair:
        status, _ = await asyncio.wait_for(one.polling._posted(sid, b"2"), 30)
        assert status == 400


@pytest.mark.parametrize("first", [0, 1])
async def test_a_request_that_goes_in_a_circle_ends(pair: tuple[SocketIO, SocketIO], first: int) -> None:
    a, b = pair
    sid = new_id(0)
    a.peers.moved[sid], b.peers.moved[sid] = 1, 0
    one = pair[first]
    gone: list[Any] = []
    assert (await asyncio.wait_for(one.polling.poll(sid, gone.append), 30))[0] == 400
    a.peers.moved[sid], b.peers.moved[sid] = 1, 0
    assert (await asyncio.wait_for(one.polling.post(sid, b"2"), 30))[0] == 400
    assert a.peers.asked + b.peers.asked == 2, "each was passed on once"


async def test_every_gateway_is_asked_once_at_most(tmp_path: Path) -> None:
    peers = gateway(tmp_path, 0, gateways=4).peers
    peers.moved["sid"] = 1
    assert [peers.onward("sid", hops) for hops in range(4)] == [1, 1, 1, None]
    assert peers.onward("another", 0) is None


async def test_the_answer_to_a_move_comes_after_the_session_has_come_back(pair: tuple[SocketIO, SocketIO]) -> None:
    a, _ = pair
    old = a.sessions.new(msgspec.Raw(b"\xc0"))
    new = a.sessions.resume(old.sid, msgspec.Raw(b"\xc0"))
    answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
    answer.set_result((200, b""))
    a._left(old, None, 1, answer)  # type: ignore[arg-type]
    assert a.sessions.get(old.sid) is new
    assert not a.peers.moved
    assert (old.closed, new.closed) == (True, False)


async def test_a_websocket_for_a_session_that_lives_here_stays_here(pair: tuple[SocketIO, SocketIO]) -> None:
    a, _ = pair
    one = a.sessions.new(msgspec.Raw(b"\xc0"))
    a.peers.moved[one.sid] = 1
    assert a.sessions.owner(one.sid) is None
    given: list[int] = []
    a.peers.give = lambda index, *_: not given.append(index)  # type: ignore[method-assign,func-returns-value]
    connection = adopt(a, Handed(one.sid, b"101", b""))
    assert (given, connection.written, one.probing) == ([], b"101", True)


async def test_a_second_websocket_is_turned_away_whichever_gateway_it_reached(pair: tuple[SocketIO, SocketIO]) -> None:
    a, _ = pair
    one = a.sessions.new(msgspec.Raw(b"\xc0"))
    adopt(a, Handed(one.sid, b"101", b""))
    second = adopt(a, Handed(one.sid, b"101", b""))
    assert second.written.startswith(b"101\x88"), "open, and closed at once, as on the gateway that holds the session"


async def test_a_websocket_that_goes_in_a_circle_is_refused(pair: tuple[SocketIO, SocketIO]) -> None:
    a, _ = pair
    sid = new_id(0)
    a.peers.moved[sid] = 1
    given: list[Handed] = []
    a.peers.give = lambda index, handed, transport: not given.append(handed)  # type: ignore[method-assign,func-returns-value]
    connection = adopt(a, Handed(sid, b"101", b""))
    assert not given
    assert connection.closed
    assert b"400" in connection.written
    assert b"unknown_session" in connection.written


async def test_nothing_is_begun_on_a_session_that_moved_and_ended(pair: tuple[SocketIO, SocketIO]) -> None:
    a, _ = pair
    sid = new_id(1)
    a.polling.settle(sid, msgspec.msgpack.encode((b"\xc0", ["9", "40"])))
    assert a.sessions.get(sid) is None
    assert len(a.hub.rooms) == 0


async def test_what_came_during_a_move_that_failed_is_judged_as_if_it_came_now(pair: tuple[SocketIO, SocketIO]) -> None:
    a, _ = pair
    one = a.sessions.new(msgspec.Raw(b"\xc0"))
    a._stay(one, _Mover(["0", "no packet", "0/another,"]))
    assert one.closed
    assert len(a.hub.rooms) == 0


def adopt(one: SocketIO, handed: Handed) -> Connection:
    connection = Connection()
    adopted = Adopted(handed, new_protocol(1_000_000), lambda _: None)
    adopted.transport = connection  # type: ignore[assignment]
    one.endpoint.adopt(adopted)
    return connection
