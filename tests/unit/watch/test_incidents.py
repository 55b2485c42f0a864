"""Incidents in groups: what is counted, what is told, and when; by a clock that the test turns."""

from __future__ import annotations

from headgate.base.clock import ManualClock
from headgate.watch.incidents import GROUPS, MUCH_WORSE, OTHER, QUIET, Groups
from headgate.watch.model import BLOCKING, Incident
from headgate.watch.naming import fingerprint


def incident(seconds: float = 0.2, *, function: str = "pay", at: float = 0.0, handler: str = "GET /") -> Incident:
    """One of a place that its function names."""
    made = Incident(
        at=at,
        pid=1,
        process="p",
        kind="asyncio",
        line="asyncio",
        cause=BLOCKING,
        seconds=seconds,
        file="/srv/orders.py",
        number=41,
        function=function,
        code="",
        call="time.sleep",
        handler=handler,
    )
    made.fingerprint = fingerprint(made)
    return made


def test_the_same_place_is_one_group_also_when_its_line_moves() -> None:
    moved = incident()
    moved.number = 57
    assert fingerprint(moved) == fingerprint(incident())
    assert fingerprint(incident(function="refund")) != fingerprint(incident())


def test_a_group_counts_adds_up_and_keeps_the_worst() -> None:
    groups = Groups([incident(0.2, at=5.0), incident(1.5, at=9.0, handler="ws /x"), incident(0.3, at=7.0)])
    (group,) = groups.groups.values()
    assert (group.count, round(group.total, 3), group.worst.seconds) == (3, 2.0, 1.5)
    assert (group.first, group.last) == (5.0, 9.0)
    assert group.handlers == {"GET /": 2, "ws /x": 1}
    assert groups.by_cause == {("asyncio", BLOCKING): (3, 2.0)}


def test_a_place_is_told_of_once_a_minute_with_what_was_not_told() -> None:
    clock, groups = ManualClock(), Groups()
    assert groups.tell(incident(), clock.now()) == 0
    for _ in range(5):
        clock.step(QUIET / 10)
        assert groups.tell(incident(), clock.now()) is None
    clock.step(QUIET / 2)
    assert groups.tell(incident(), clock.now()) == 5


def test_much_worse_is_told_at_once_and_other_places_are_never_held_back() -> None:
    clock, groups = ManualClock(), Groups()
    groups.tell(incident(0.2), clock.now())
    assert groups.tell(incident(0.2 * MUCH_WORSE * 0.9), clock.now()) is None
    assert groups.tell(incident(0.2 * MUCH_WORSE), clock.now()) == 1
    assert groups.tell(incident(0.2 * MUCH_WORSE), clock.now()) is None, "the bar has risen"
    assert groups.tell(incident(function="refund"), clock.now()) == 0


def test_the_number_of_groups_is_bounded_and_nothing_is_lost_from_the_sums() -> None:
    groups = Groups(incident(function=f"f{number}") for number in range(GROUPS + 30))
    assert len(groups.groups) == GROUPS + 1
    assert groups.groups[OTHER].count == 30
    assert groups.count == GROUPS + 30


def test_the_costliest_comes_first() -> None:
    groups = Groups([incident(2.0), *[incident(0.5, function="often") for _ in range(5)]])
    assert [group.worst.function for group in groups.ranked()] == ["often", "pay"]
    assert groups.facts()["places"][0]["function"] == "often"
    assert groups.facts()["stalled"] == 4.5
