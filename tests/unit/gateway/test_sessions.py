"""Sessions: only the newest connection stays, on whichever gateway it is."""

from __future__ import annotations

from random import Random

import pytest

from headgate.gateway import codes
from headgate.gateway.sessions import Sessions, session_of


class Conn:
    def __init__(self, id: str) -> None:
        self.id = id
        self.evicted: int | None = None

    def evict(self, code: int, reason: str) -> None:
        assert self.evicted is None, "once"
        self.evicted = code


class Machine:
    """Gateways that tell each other, with words that may be late and out of order."""

    def __init__(self, gateways: int) -> None:
        self.now = 100.0
        self.pending: list[bytes] = []
        self.gateways = [Sessions(self.pending.append, lambda: self.now) for _ in range(gateways)]

    def deliver(self, payload: bytes) -> None:
        for gateway in self.gateways:
            gateway.heard(payload)

    def deliver_all(self) -> None:
        while self.pending:
            self.deliver(self.pending.pop(0))


def test_the_new_connection_takes_the_place_of_the_old() -> None:
    machine = Machine(1)
    first, second, other = Conn("1"), Conn("2"), Conn("3")
    sessions = machine.gateways[0]
    sessions.enter("a", first)
    sessions.enter("b", other)
    sessions.enter("a", second)
    machine.deliver_all()
    assert first.evicted == codes.EVICTED
    assert second.evicted is other.evicted is None
    assert sessions.evicted == 1
    sessions.leave("a", first)  # its end comes after
    assert len(sessions) == 2
    sessions.leave("a", second)
    sessions.leave("b", other)
    assert len(sessions) == 0


def test_another_gateway_hears_of_it() -> None:
    machine = Machine(2)
    first, second = Conn("1"), Conn("2")
    machine.gateways[0].enter("a", first)
    machine.now += 1
    machine.gateways[1].enter("a", second)
    machine.deliver_all()
    assert first.evicted == codes.EVICTED
    assert second.evicted is None


def test_a_word_that_comes_late_closes_nothing_newer() -> None:
    machine = Machine(2)
    first, second = Conn("1"), Conn("2")
    machine.gateways[1].enter("a", first)
    late = machine.pending.pop()
    machine.now += 1
    machine.gateways[0].enter("a", second)
    machine.deliver(late)
    machine.deliver_all()
    assert second.evicted is None
    assert first.evicted == codes.EVICTED


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_order_of_the_words_the_newest_alone_stays(seed: int) -> None:
    random, machine = Random(seed), Machine(4)
    conns = [Conn(str(number)) for number in range(40)]
    for conn in conns:
        machine.now += random.choice([0.0, 0.01, 1.0])
        random.choice(machine.gateways).enter("a", conn)
        while machine.pending and random.random() < 0.5:
            machine.deliver(machine.pending.pop(random.randrange(len(machine.pending))))
    random.shuffle(machine.pending)
    machine.deliver_all()
    assert sum(conn.evicted is None for conn in conns) == 1
    assert sum(len(gateway) for gateway in machine.gateways) == 1


def test_nonsense_on_the_channel_is_nothing() -> None:
    Sessions().heard(b"\xa3abc")
    Sessions().heard(b"")


ID = "0123456789abcdef"


@pytest.mark.parametrize(
    ("options", "headers", "query", "named"),
    [
        ({}, [], b"", ""),
        ({}, [], b"a=1&headgate-session=" + ID.encode(), f"ws /x client {ID}"),
        ({}, [], b"headgate-session=short", ""),
        ({}, [], b"headgate-session=" + b"x" * 129, ""),
        ({}, [], b"headgate-session=%0a" + ID.encode(), ""),
        ({"session": "anna"}, [], b"headgate-session=" + ID.encode(), "ws /x app anna"),
        ({"session": ""}, [], b"headgate-session=" + ID.encode(), ""),
        ({"session": 17}, [], b"", "ws /x app 17"),
        ({}, [(b"x-headgate-session", b"anna")], b"headgate-session=" + ID.encode(), "ws /x app anna"),
        ({}, [], b"&".join(b"a=1" for _ in range(99)) + b"&headgate-session=" + ID.encode(), ""),
    ],
)
def test_who_names_a_session(
    options: dict[str, object], headers: list[tuple[bytes, bytes]], query: bytes, named: str
) -> None:
    assert session_of("ws /x", options, headers, query) == named


def test_a_client_cannot_ask_for_what_the_app_has_given() -> None:
    theirs = session_of("ws /x", {"session": ID}, [], b"")
    assert session_of("ws /x", {}, [], b"headgate-session=" + ID.encode()) != theirs
