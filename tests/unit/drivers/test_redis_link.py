"""The standing connection to a Redis: which of several connections is asked, and what happens when one breaks."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from redis.asyncio.connection import Connection
from redis.exceptions import AskError, MovedError, NoScriptError, TryAgainError

from headgate.base.errors import EngineGone, Unavailable
from headgate.base.model import JobSpec
from headgate.drivers.embedded import wire
from headgate.drivers.local.store import Limits
from headgate.drivers.redis import packing
from headgate.drivers.redis.address import parse
from headgate.drivers.redis.line import Line
from headgate.drivers.redis.link import Link
from headgate.drivers.redis.requests import carry_out

pytestmark = pytest.mark.anyio


class StubLine:
    """A connection that answers with what it is given; it breaks after `good` answers."""

    def __init__(self, *answers: Any, good: int = 1_000) -> None:
        self.answers = list(answers)
        self.good = good
        self.asked: list[str] = []
        self.unanswered = 0

    @property
    def alive(self) -> bool:
        return len(self.asked) < self.good

    def call(self, *command: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        alive = self.alive
        self.asked.append(str(command[0]))
        if len(self.asked) > 200:
            raise AssertionError("a connection that is dead is asked again and again")
        if alive:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        else:
            future.set_exception(EngineGone("the connection to Redis is gone"))
        return future

    def silent(self) -> bool:
        return False

    def drop(self, why: str) -> None:
        self.good = 0

    async def close(self) -> None:
        self.good = 0


def a_link(*, url: str = "redis://nowhere") -> Any:
    return Link(parse(url), "{t}:", lambda channel, payload: None, lambda: None, None)


async def test_replicas_are_asked_on_the_connection_that_answered_the_put_or_not_at_all() -> None:
    link = a_link(url="redis://nowhere?wait_replicas=1")
    first, second = StubLine([[b"a", 1]], good=1), StubLine(1)
    link._line = first
    answer = first.call

    def call(*command: Any) -> asyncio.Future[Any]:
        if command[0] != "WAIT":
            link._line = second  # the connection breaks after the reply, and there is a new one at once
        return answer(*command)

    first.call = call  # type: ignore[method-assign]

    async def run(operation: str, arguments: Any, *, repeat: bool = True, patience: float | None = 1.0) -> Any:
        return await link.run(operation, packing.arguments(arguments), repeat=repeat, patience=patience)

    parts: Any = SimpleNamespace(run=run, link=link, address=link.address, limits=Limits(), refused={})
    with pytest.raises(EngineGone, match="before replicas were asked"):
        await carry_out(parts, wire.Put(1, [JobSpec(id="a", function="shop:reprice", arguments=b"\x90")]), 1.0)
    assert second.asked == []


async def test_a_request_behind_a_slow_one_has_its_time_from_the_answer_on() -> None:
    near, far = socket.socketpair()
    connection = Connection()
    connection._reader, connection._writer = await asyncio.open_connection(sock=near)
    connection._parser.on_connect(connection)  # type: ignore[no-untyped-call]
    line = Line(connection, lambda channel, payload: None, lambda: None)
    real, now = line._loop, [100.0]
    line._loop = SimpleNamespace(time=lambda: now[0], create_future=real.create_future, call_soon=real.call_soon)  # type: ignore[assignment]
    slow = [line.call("WAIT", 1, 4000) for _ in range(3)]
    for at, one in enumerate(slow, 1):
        now[0] = 100.0 + 4 * at
        assert not line.silent()
        line._answer(0)
        assert one.done()
    assert not line.silent()
    line.call("PING")
    now[0] += 5.5
    assert line.silent()
    await line.close()
    far.close()


async def test_a_connection_that_broke_in_its_last_step_of_setup_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    link = a_link()
    broken, good = StubLine(good=0), StubLine(b"PONG")
    made = [broken, good]

    async def connect() -> StubLine:
        if made[0] is broken:
            link._broke()  # as the connection itself says it, while nobody holds it yet
        return made.pop(0)

    monkeypatch.setattr(link, "_connect", connect)
    await link.open(10.0)
    try:
        assert link._line is good
        assert await link.ask("PING") == b"PONG"
        assert (broken.asked, link.reconnects) == ([], 0)
    finally:
        await link.close()


async def test_a_dead_connection_that_is_still_held_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    link = a_link()
    first, second = StubLine(good=1), StubLine(b"PONG")
    made = [first, second]

    async def connect() -> StubLine:
        link._down.clear()
        return made.pop(0)

    monkeypatch.setattr(link, "_connect", connect)
    await link.open(10.0)
    try:
        first.good = 0  # and its word of it has gone astray
        assert await link.ask("PING") == b"PONG"
        assert (first.asked, second.asked, link.reconnects) == (["PING"], ["PING"], 1)
    finally:
        await link.close()


async def test_each_turn_lets_others_run() -> None:
    link = a_link()
    link._line = StubLine()
    turns: list[int] = []

    async def send(line: Any) -> int:
        turns.append(len(turns))
        if len(turns) < 5:
            raise EngineGone("at once, though the connection lives")
        return others[0]

    others = [0]

    async def other() -> None:
        for _ in range(4):
            await asyncio.sleep(0)
            others[0] += 1

    beside = asyncio.ensure_future(other())
    assert await link._insist(send, True, 1.0) >= 3
    await beside


async def test_while_the_keys_are_on_their_way_it_is_asked_again_on_the_same_connection() -> None:
    link = a_link()
    line = link._line = StubLine(AskError("1 host:1"), TryAgainError("later"), AskError("1 host:1"), b"PONG")
    assert await link.ask("PING") == b"PONG"
    assert (line.asked, line.alive) == (["PING"] * 4, True)


@pytest.mark.parametrize("answer", [AskError("1 host:1"), NoScriptError("none here"), MovedError("1 host:1")])
async def test_what_does_not_get_better_is_refused_when_its_time_is_over(answer: Exception) -> None:
    link = a_link()
    link._line = StubLine(*[answer] * 200)
    with pytest.raises(Unavailable):
        await link.run("now", b"\x90", repeat=True, patience=0.3)
