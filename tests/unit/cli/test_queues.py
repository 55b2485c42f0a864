"""The words and numbers of `headgate queues` and `headgate jobs watch`."""

from __future__ import annotations

from headgate.cli.queues import _left, _words
from headgate.cli.upkeep import Pace


def test_rules_in_words() -> None:
    assert _words({"paused": False, "weight": 1.0}) == ""
    assert _words({"paused": True, "slots": 3, "rate": 0.5, "depth": 0, "weight": 2.0}) == (
        " (paused, slots 3, rate 0.5, depth 0, weight 2)"
    )


def test_what_is_left_of_a_queue_is_what_has_not_ended() -> None:
    counts = {"a": {"queued": 2, "running": 1, "scheduled": 4, "failed": 9, "succeeded": 90}, "b": {"queued": 5}}
    assert _left(counts, "a") == 7
    assert _left(counts, "nobody") == 0


def test_the_pace_counts_what_ended_and_is_never_negative() -> None:
    pace = Pace()
    assert pace.at(10.0, {"a": {"succeeded": 5}}) == 0.0
    assert pace.at(12.0, {"a": {"succeeded": 9, "failed": 2}, "b": {"cancelled": 4}}) == 5.0
    assert pace.at(13.0, {"a": {"succeeded": 1}}) == 0.0
