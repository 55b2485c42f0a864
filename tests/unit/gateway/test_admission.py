"""Admission of handshakes, with a virtual clock: a bounded rate, and clients spread over the time that they need."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from random import Random

from headgate.gateway.admission import LATEST, Admission


def test_what_is_under_way_is_bounded_whatever_the_rate() -> None:
    admission = Admission(0.0, 3, lambda: 0.5)
    assert admission.refused(2, 1.0) == 0.0
    assert 1.0 <= admission.refused(3, 1.0) <= LATEST


def test_a_hint_grows_with_the_crowd_and_shrinks_with_time() -> None:
    admission = Admission(10.0, 1000, lambda: 1.0)
    assert [admission.refused(0, 1.0) for _ in range(20)] == [0.0] * 20, "a burst of two seconds' worth"
    hints = [admission.refused(0, 1.0) for _ in range(100)]
    assert hints == sorted(hints)
    assert 10.0 < hints[-1] <= 13.0
    assert max(admission.refused(0, 1.0) for _ in range(10_000)) <= LATEST
    assert admission.refused(1000, 2_000.0) <= 3.0, "they have been and gone"


def test_a_storm_is_over_in_about_the_time_that_the_rate_needs_and_is_no_wave_after_wave() -> None:
    """5,000 clients at once, 200 admitted per second, each obeying its hint."""
    random = Random(1)
    admission = Admission(200.0, 10_000, random.random)
    numbers = itertools.count()
    waiting = [(1.0 + random.random(), next(numbers)) for _ in range(5_000)]
    heapq.heapify(waiting)
    admitted: Counter[int] = Counter()
    tries: Counter[int] = Counter()
    while waiting:
        now, _ = heapq.heappop(waiting)
        tries[int(now)] += 1
        hint = admission.refused(0, now)
        if hint:
            heapq.heappush(waiting, (now + hint, next(numbers)))
        else:
            admitted[int(now)] += 1
    assert max(admitted) <= 2 * 5_000 / 200, "the rate alone would take 25 s"
    assert max(admitted.values()) <= 600, "a second's worth, and the burst before it"
    assert max(count for second, count in tries.items() if second > 1) <= 1_000, "they do not all return at once"
    assert sum(tries.values()) <= 4 * 5_000
