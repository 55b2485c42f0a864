"""One user's books, by stories: what happened, and what each reply came to."""

from __future__ import annotations

import random
from typing import Any

import pytest

from headgate.simulate.ledger import Ledger
from headgate.simulate.scenario import IDS_PER_USER, Action, Reply, User

FIRST = 3 * IDS_PER_USER


def books(ordered: bool = True) -> Ledger:
    return Ledger(User(3, random.Random(1)), ordered)


def click(ledger: Ledger, at: float = 0.0, expects: Any = "auto", connection: int = 1) -> int:
    click_id = ledger.new_id()
    ledger.sent(click_id, Action({}, "click", expects), at, at, connection)
    return click_id


def verdict(ledger: Ledger, kind: Any, **fields: Any) -> str:
    return ledger.read(Reply(kind, **fields)).verdict


def lost(ledger: Ledger) -> list[tuple[int, str]]:
    return [(pending.id - FIRST, awaited) for pending, awaited in ledger.abandon()]


def test_an_answer_ends_its_click() -> None:
    ledger = books()
    first = click(ledger)
    assert (first, ledger.outstanding) == (FIRST, 1)
    assert verdict(ledger, "answer", id=first) == "answered"
    assert (ledger.outstanding, lost(ledger)) == (0, [])


def test_a_second_answer_is_a_duplicate() -> None:
    ledger = books()
    first = click(ledger)
    assert [verdict(ledger, "answer", id=first) for _ in range(2)] == ["answered", "duplicated"]


def test_an_answer_that_nobody_asked_for() -> None:
    ledger = books()
    assert verdict(ledger, "answer", id=FIRST + 5) == "unexpected"
    assert verdict(ledger, "answer", id=FIRST - 5) == "misdelivered"
    assert verdict(ledger, "answer") == "unexpected"


def test_what_never_came_is_lost() -> None:
    ledger = books()
    click(ledger)
    second = click(ledger)
    verdict(ledger, "answer", id=second, job="j")
    assert lost(ledger) == [(0, "answer"), (1, "result")]


def order_of(ledger: Ledger, ids: list[int]) -> list[bool]:
    return [ledger.read(Reply("answer", id=one)).out_of_order for one in ids]


def test_only_the_answer_that_was_overtaken_is_out_of_order() -> None:
    ledger = books()
    a, b, c, d = (click(ledger) for _ in range(4))
    assert order_of(ledger, [a, c, b, d]) == [False, False, True, False]


def test_a_lost_answer_does_not_put_the_others_out_of_order() -> None:
    ledger = books()
    _, b, c = (click(ledger) for _ in range(3))
    assert order_of(ledger, [b, c]) == [False, False]


def test_order_holds_within_a_connection() -> None:
    ledger = books()
    a, b = click(ledger, connection=1), click(ledger, connection=2)
    assert order_of(ledger, [b, a]) == [False, False]
    assert order_of(books(ordered=False), []) == []


def test_order_is_not_asked_for_where_it_was_not_promised() -> None:
    ledger = books(ordered=False)
    a, b = click(ledger), click(ledger)
    assert order_of(ledger, [b, a]) == [False, False]


def test_a_job_is_answered_and_then_has_its_result() -> None:
    ledger = books()
    first = click(ledger)
    assert verdict(ledger, "answer", id=first, job="j") == "answered"
    assert verdict(ledger, "event", stream="jobs/j", offset="1") == "event"
    found = ledger.read(Reply("result", stream="jobs/j", offset="2"))
    assert found.verdict == "result"
    assert found.click is not None
    assert found.click.id == first
    assert (ledger.outstanding, lost(ledger)) == (0, [])


def test_a_result_may_overtake_the_answer_that_names_its_job() -> None:
    ledger = books()
    first = click(ledger)
    assert verdict(ledger, "result", job="j") == "early"
    assert verdict(ledger, "answer", id=first, job="j") == "answered+result"
    assert ledger.outstanding == 0


def test_a_second_result_is_a_duplicate() -> None:
    ledger = books()
    verdict(ledger, "answer", id=click(ledger), job="j")
    assert [verdict(ledger, "result", job="j") for _ in range(2)] == ["result", "duplicated"]


def test_the_end_of_a_job_ends_every_click_that_named_it() -> None:
    ledger = books()
    clicks = [click(ledger) for _ in range(3)]
    assert [verdict(ledger, "answer", id=each, job="j") for each in clicks] == ["answered"] * 3
    assert ledger.outstanding == 3
    found = ledger.read(Reply("failed", job="j"))
    assert found.click is not None
    assert [each.id for each in (found.click, *found.others)] == clicks
    assert (ledger.outstanding, lost(ledger)) == (0, [])
    # Each of the clicks may be told of the end by itself.
    assert [verdict(ledger, "failed", job="j") for _ in range(3)] == ["event", "event", "duplicated"]


def test_a_click_that_names_an_ended_job_has_its_result_at_once() -> None:
    ledger = books()
    verdict(ledger, "answer", id=click(ledger), job="j")
    verdict(ledger, "result", job="j")
    assert verdict(ledger, "answer", id=click(ledger), job="j") == "answered+result"
    assert (ledger.outstanding, lost(ledger)) == (0, [])
    assert [verdict(ledger, "result", job="j") for _ in range(2)] == ["event", "duplicated"]


def test_a_second_result_is_a_duplicate_also_of_one_that_overtook_its_answer() -> None:
    ledger = books()
    first = click(ledger)
    verdict(ledger, "result", job="j")
    verdict(ledger, "answer", id=first, job="j")
    assert verdict(ledger, "result", job="j") == "duplicated"


def test_events_must_have_growing_offsets() -> None:
    ledger = books()
    verdict(ledger, "answer", id=click(ledger), job="j")
    offsets = ["1", "9", "10", "10", "2"]
    found = [verdict(ledger, "event", job="j", offset=offset) for offset in offsets]
    assert found == ["event", "event", "event", "repeated_event", "repeated_event"]


def test_a_resume_asks_for_the_streams_that_go_on() -> None:
    user = User(0, random.Random(1))
    ledger = Ledger(user)
    for job in ("a", "b"):
        verdict(ledger, "answer", id=click(ledger), job=job)
        verdict(ledger, "event", job=job, offset=4)
    verdict(ledger, "result", job="a", offset=5)
    assert user.following == {"jobs/b": 4}


def test_a_refusal_may_overtake_the_answers_before_it() -> None:
    ledger = books()
    a, b = click(ledger), click(ledger)
    assert verdict(ledger, "error", id=b) == "error"
    assert order_of(ledger, [a]) == [False]
    assert ledger.outstanding == 0


def test_a_click_whose_connection_broke_is_lost_at_once() -> None:
    ledger = books()
    first = click(ledger)
    found = ledger.read(Reply("lost", id=first))
    assert (found.verdict, found.click and found.click.id) == ("lost", first)
    assert (ledger.outstanding, lost(ledger)) == (0, [])
    assert verdict(ledger, "lost", id=first) == "unexpected"


def test_a_result_without_a_job_belongs_to_its_click() -> None:
    ledger = books()
    first = click(ledger, expects="result")
    assert verdict(ledger, "answer", id=first) == "answered"
    assert ledger.outstanding == 1
    assert verdict(ledger, "result", id=first) == "result"


@pytest.mark.parametrize(("expects", "outstanding"), [(None, 0), ("answer", 1)])
def test_what_a_click_expects(expects: str | None, outstanding: int) -> None:
    ledger = books()
    first = click(ledger, expects=expects)
    assert ledger.outstanding == outstanding
    if expects == "answer":
        assert verdict(ledger, "answer", id=first, job="j") == "answered"
        assert ledger.outstanding == 0


def test_a_cut_excuses_what_was_under_way_but_not_what_was_lost_before() -> None:
    ledger = books()
    click(ledger, at=1.0)
    click(ledger, at=9.9)
    job = click(ledger, at=9.9)
    verdict(ledger, "answer", id=job, job="j")
    ledger.disturb(now=10.0, patience=lambda _: 1.0)
    assert [(p.excused, p.disturbed, awaited) for p, awaited in ledger.abandon()] == [
        (False, True, "answer"),
        (True, True, "answer"),
        (False, True, "result"),
    ]


def test_what_a_cut_took_along_is_not_waited_for_once_the_user_is_back() -> None:
    ledger = books()
    cut_off = click(ledger, at=9.9)
    job = click(ledger, at=9.9)
    verdict(ledger, "answer", id=job, job="j")
    ledger.disturb(now=10.0, patience=lambda _: 1.0)
    assert (ledger.awaited(1), ledger.awaited(2)) == (2, 1)  # a resume must bring the result
    later = click(ledger, at=11.0, connection=2)
    assert ledger.awaited(2) == 2
    assert [verdict(ledger, "answer", id=each) for each in (later, cut_off)] == ["answered", "answered"]
