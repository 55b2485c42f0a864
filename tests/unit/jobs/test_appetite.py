"""How many jobs a worker claims at once."""

from __future__ import annotations

from headgate.jobs.appetite import MOST, Appetite


def test_it_begins_with_one_and_grows_with_short_jobs() -> None:
    appetite = Appetite()
    grown = [appetite.most]
    for _ in range(60):
        appetite.ran(0.0005)
        grown.append(appetite.most)
    assert grown[0] == 1
    assert grown == sorted(grown)
    assert grown[-1] == MOST


def test_one_slow_job_brings_it_down_at_once() -> None:
    appetite = Appetite()
    for _ in range(60):
        appetite.ran(0.0001)
    appetite.ran(3.0)
    assert appetite.most == 1


def test_jobs_of_middle_length_are_leased_a_few_ahead() -> None:
    appetite = Appetite()
    for _ in range(60):
        appetite.ran(0.01)
    assert 3 <= appetite.most <= 6
