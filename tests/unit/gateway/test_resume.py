"""What clients say to the gateway itself: coming back by tokens, and pings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headgate.base.clock import ManualClock
from headgate.base.tokens import Tokens
from headgate.gateway.follows import Told
from headgate.gateway.resume import MOST, Capabilities, take


class Connection:
    def __init__(self, room: int = 10) -> None:
        self.resumes = False
        self.announced = 0
        self.said: list[Any] = []
        self.followed: dict[str, int] = {}
        self.told: list[Told] = []
        self._room = room

    def announce_all(self) -> None:
        self.announced += 1

    def json(self, value: Any) -> None:
        self.said.append(value)

    def follow(self, stream: str, after: int) -> bool:
        if len(self.followed) >= self._room:
            return False
        self.followed[stream] = after
        return True

    def event(self, told: Told) -> None:
        self.told.append(told)


CLOCK = ManualClock()
CAPABILITIES = Capabilities(Tokens("secret", CLOCK), 60.0)


def resume(connection: Connection, **streams: tuple[str, str]) -> None:
    take(connection, CAPABILITIES, json.dumps({"headgate": "resume", "streams": streams}))


def test_a_client_goes_on_behind_what_it_has() -> None:
    connection = Connection()
    resume(connection, a=("0000000000000042", CAPABILITIES.sign("a")), b=("0", CAPABILITIES.sign("b")))
    assert connection.followed == {"a": 42, "b": 0}
    assert connection.said == [{"headgate": "resumed", "streams": 2}]
    assert connection.resumes
    resume(connection)
    assert connection.announced == 1, "what it follows already is told once"


def test_a_token_is_for_one_stream() -> None:
    connection = Connection()
    token = CAPABILITIES.sign("a")
    resume(connection, b=("0", token))
    resume(connection, c=("0", ""), d=("x", CAPABILITIES.sign("d")))
    assert connection.followed == {}
    assert [(one.stream, one.event.kind, one.event.terminal) for one in connection.told] == [
        ("b", "gone", True),
        ("c", "gone", True),
        ("d", "gone", True),
    ]


def test_more_streams_than_a_connection_may_follow_are_told() -> None:
    connection = Connection(room=1)
    resume(connection, a=("0", CAPABILITIES.sign("a")), b=("0", CAPABILITIES.sign("b")))
    assert list(connection.followed) == ["a"]
    assert [one.stream for one in connection.told] == ["b"]


def test_a_ping_is_answered() -> None:
    connection = Connection()
    take(connection, None, '{"headgate":"ping"}')
    assert connection.said == [{"headgate": "pong"}]
    assert not connection.resumes


@pytest.mark.parametrize(
    "message", ['{"headgate":"dance"}', '{"headgate":"resume","streams":[1]}', '{"headgate":', '{"headgate":1}']
)
def test_nonsense_is_answered_and_harms_nobody(message: str) -> None:
    connection = Connection()
    take(connection, CAPABILITIES, message)
    assert [one["headgate"] for one in connection.said] == ["error"]


def test_too_much_of_it_is_refused_whole() -> None:
    connection = Connection()
    deep = '{"headgate":"resume","streams":' + "[" * 3000 + "]" * 3000 + "}"
    take(connection, CAPABILITIES, deep)
    many = {f"s{number}": ["0", "a.b.c"] for number in range(MOST + 1)}
    take(connection, CAPABILITIES, json.dumps({"headgate": "resume", "streams": many}))
    assert [one["error"] for one in connection.said] == ["malformed", "too_many"]
    assert connection.told == []
