"""The bodies of polling requests: what is read of them, and for how long."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headgate.gateway.bodies import Pace, whole
from headgate.gateway.socketio.peers import Peers
from headgate.gateway.socketio.polling import Polling
from headgate.gateway.socketio.session import Session
from headgate.gateway.socketio.sessions import Sessions
from headgate.gateway.streams.face import Face
from headgate.link.socketio import SioServer, new_id

pytestmark = pytest.mark.anyio
MOST = 100
SERVER = SioServer(
    "/socket.io/", 25.0, 20.0, MOST, ["polling"], True, "", None, False, False, False, 0,
    "default", {}, None, False, False,
)  # fmt: skip


class App:
    def __init__(self) -> None:
        self.got: list[str | bytes] = []
        self.reasons: list[str] = []

    def received(self, session: Session, data: str | bytes) -> None:
        self.got.append(data)

    def closed(self, session: Session, reason: str) -> None:
        self.reasons.append(reason)

    def overflowed(self, session: Session) -> None: ...


class Scene:
    """The polling of a gateway without others."""

    def __init__(self, folder: Path, *, body_timeout: float = 60.0) -> None:
        self.app = App()
        self.read = 0
        self.sent: list[Any] = []
        peers = Peers(folder, 0, 1)
        self.sessions = Sessions(
            self.app, lambda _: None, lambda: new_id(0), 0, peers, outbox=(100_000, 60.0), most=10
        )  # fmt: skip
        self.sessions.serves(SERVER)
        self.polling = Polling(self.sessions, None, peers, pace=Pace(body_timeout))  # type: ignore[arg-type]

    async def post(self, sid: str, *parts: bytes, ends: bool = True) -> int:
        """The status of the answer to a post whose body comes in parts, and ends or not."""
        left = list(parts)

        async def receive() -> Any:
            self.read += 1
            if not left:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": left.pop(0), "more_body": bool(left) or not ends}

        async def send(message: Any) -> None:
            self.sent.append(message)

        query = f"EIO=4&transport=polling&sid={sid}".encode()
        scope = {"method": "POST", "headers": [], "query_string": query}
        await asyncio.wait_for(self.polling.answer(scope, receive, send), 30)
        return int(self.sent[-2]["status"])


async def test_a_body_for_nobody_is_not_read(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    assert await scene.post("x", b"4hello", ends=False) == 400
    assert scene.read == 0
    assert b"Session ID unknown" in scene.sent[-1]["body"]


async def test_a_body_that_does_not_end_is_given_up_with_its_session(tmp_path: Path) -> None:
    scene = Scene(tmp_path, body_timeout=0.05)
    one = scene.sessions.new(b"")
    assert await scene.post(one.sid, b"4he", ends=False) == 408
    assert (b"connection", b"close") in scene.sent[-2]["headers"]
    assert (scene.app.got, scene.app.reasons, len(scene.sessions)) == ([], ["transport error"], 0)


async def test_a_body_may_take_its_time_while_pieces_come() -> None:
    left = 8

    async def receive() -> Any:
        nonlocal left
        await asyncio.sleep(0.2)
        left -= 1
        return {"type": "http.request", "body": b"x", "more_body": left > 0}

    assert await whole(receive, 100, Pace(idle=1.0)) == b"x" * 8


async def test_a_body_in_parts(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    one = scene.sessions.new(b"")
    assert await scene.post(one.sid, b"4he", b"llo") == 200
    assert scene.app.got == ["hello"]
    assert await scene.post(one.sid, b"4" * MOST, b"4") == 413
    assert one.closed


async def test_an_append_whose_body_does_not_end_is_given_up() -> None:
    sent: list[Any] = []
    parts = [b"a"]

    async def receive() -> Any:
        if not parts:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": parts.pop(), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    access = SimpleNamespace(by_token=lambda *_: True)
    unused: Any = object()
    face = Face(lambda: unused, access, unused, unused, pace=Pace(0.05))  # type: ignore[arg-type]
    scope = {"method": "POST", "path": "/-/streams/s", "headers": [], "query_string": b""}
    status, _ = await asyncio.wait_for(face.answer(scope, receive, send), 30)
    assert (status, sent[0]["status"]) == (408, 408)
    assert b"upload_too_slow" in sent[1]["body"]
