"""The load over time, and the moments drawn from it."""

from __future__ import annotations

import itertools

import pytest

from headgate.simulate.amounts import parse_rate
from headgate.simulate.errors import BadInput
from headgate.simulate.schedule import intentions, presence, user_rng
from headgate.simulate.stages import Curve, Load, Stage, parse_stage, plan


def test_a_curve_is_integrated_and_inverted() -> None:
    curve = Curve([(0, 0), (10, 2), (20, 2), (30, 0)])
    assert (curve.at(5), curve.at(15), curve.at(99)) == (1, 2, 0)
    assert (curve.area(10), curve.area(20), curve.area(30)) == (10, 30, 40)
    for area in (0.1, 9.9, 10.0, 25.0, 39.9):
        moment = curve.when(area)
        assert moment is not None
        assert curve.area(moment) == pytest.approx(area)
    assert curve.when(40) is None


def test_a_curve_knows_when_it_is_above_a_level() -> None:
    curve = Curve([(0, 0), (10, 10), (20, 10), (30, 0)])
    assert curve.above(5) == [(5, 25)]
    assert curve.above(10) == []
    assert Curve([(0, 3), (10, 3)]).above(2.5) == [(0, 10)]


def test_a_plain_run_has_all_its_users_from_the_start() -> None:
    load = plan(3, parse_rate("0.5/user"), 20)
    assert (load.seconds, load.most_users, load.clicks_per_second) == (20, 3, 1.5)
    assert [presence(load, n) for n in range(4)] == [[(0, 20)], [(0, 20)], [(0, 20)], []]


def test_stages_ramp_from_nobody() -> None:
    load = plan(0, parse_rate("1/user"), 0, [Stage(10, 10), Stage(10, 10), Stage(10, 0)])
    assert presence(load, 4) == [(4.5, 25.5)]
    assert presence(load, 9) == [(9.5, 20.5)]


def test_a_rate_of_all_users_stays_the_same_while_they_come() -> None:
    load = plan(0, parse_rate("50/s"), 0, [Stage(10, 100), Stage(10, 100)])
    assert load.users.at(5) * load.rate.at(5) == pytest.approx(50)
    assert load.users.at(15) * load.rate.at(15) == pytest.approx(50)


def test_a_stage_can_have_its_own_rate() -> None:
    load = plan(0, parse_rate("1/user"), 0, [parse_stage("10s:10"), parse_stage("10s:10@3/user")])
    assert (load.rate.at(10), load.rate.at(15), load.rate.at(20)) == (1, 2, 3)


@pytest.mark.parametrize("text", ["30s", "30s:many", ":5", "30s:5@warp"])
def test_what_is_no_stage_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_stage(text)


@pytest.mark.parametrize(
    ("users", "rate", "seconds", "stages", "words"),
    [
        (0, "1/user", 10, [], "no users"),
        (5, "1/user", 0, [], "no length"),
        (5, "0/s", 10, [], "nobody would ever click"),
        (5, "1/user", 10, [Stage(5, 0)], "no users"),
        (5, "1/user", 10, [Stage(5, 5, "5/s")], "mix rates"),
        (5, "1/user", 10, [Stage(5, 5), Stage(0, 5)], "has no length"),
    ],
)
def test_loads_that_make_no_sense_are_refused(
    users: int, rate: str, seconds: float, stages: list[Stage], words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        plan(users, parse_rate(rate), seconds, stages)


def moments(load: Load, seed: int, number: int = 0, pace: str = "poisson") -> list[float]:
    return list(intentions(user_rng(seed, number), load.rate, 0, load.seconds, pace))  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_moments_and_another_others() -> None:
    load = plan(1, parse_rate("2/user"), 50)
    assert moments(load, 7) == moments(load, 7)
    assert moments(load, 7) != moments(load, 8)
    assert moments(load, 7) != moments(load, 7, number=1)


def test_moments_rise_and_have_the_rate_asked_for() -> None:
    load = plan(1, parse_rate("2/user"), 2000)
    found = moments(load, 7)
    assert found == sorted(found)
    assert found[0] > 0
    assert found[-1] < 2000
    assert len(found) == pytest.approx(4000, rel=0.06)  # the seed is fixed: this cannot flicker


def test_moments_follow_a_ramp() -> None:
    load = Load(Curve([(0, 1), (1000, 1)]), Curve([(0, 0), (1000, 4)]))
    found = moments(load, 7)
    assert sum(t < 500 for t in found) == pytest.approx(500, rel=0.15)
    assert sum(t >= 500 for t in found) == pytest.approx(1500, rel=0.1)


def test_an_even_pace_has_equal_gaps() -> None:
    found = moments(plan(1, parse_rate("4/user"), 10), 7, pace="even")
    gaps = [later - earlier for earlier, later in itertools.pairwise(found)]
    assert gaps == pytest.approx([0.25] * len(gaps))
    assert len(found) == 40
