from __future__ import annotations

from random import Random

from headgate.gateway.learner import FAST, HANDLERS, PROOF, SLOW, Learner

LIMIT = 0.025


def prove(learner: Learner, handler: str, runs: int = PROOF, seconds: float = 0.001) -> None:
    for _ in range(runs):
        learner.learn(handler, seconds)


def test_a_handler_is_slow_until_it_is_proven() -> None:
    learner = Learner(LIMIT)
    changes = [learner.learn("GET /", 0.001) for _ in range(PROOF)]
    assert changes == [False] * (PROOF - 1) + [True]
    assert learner.lane("GET /") == FAST
    assert "proven" in learner.profiles()["GET /"].why
    assert learner.known() == {"GET /": True}


def test_a_slow_run_among_the_first_puts_the_proof_off() -> None:
    learner = Learner(LIMIT)
    prove(learner, "GET /", PROOF - 1)
    assert not learner.learn("GET /", 0.030)
    prove(learner, "GET /", PROOF - 1)
    assert learner.lane("GET /") == SLOW
    prove(learner, "GET /", 1)
    assert learner.lane("GET /") == FAST


def test_one_run_over_ten_times_the_limit_ends_it() -> None:
    learner = Learner(LIMIT)
    prove(learner, "GET /")
    assert learner.learn("GET /", 10 * LIMIT + 0.001)
    assert learner.lane("GET /") == SLOW
    assert learner.profiles()["GET /"].why == "one run took 251 ms"


def test_runs_between_the_limit_and_its_double_do_not_move_it_back() -> None:
    learner = Learner(LIMIT)
    prove(learner, "GET /")
    assert not any(learner.learn("GET /", 1.9 * LIMIT) for _ in range(200))


def test_a_quantile_over_twice_the_limit_does() -> None:
    learner = Learner(LIMIT)
    prove(learner, "GET /", 64)
    changed = [learner.learn("GET /", 3 * LIMIT) for _ in range(5)]
    assert changed.count(True) == 1
    assert learner.lane("GET /") == SLOW


def test_a_handler_that_is_now_fast_and_now_slow_settles_in_the_slow_lane() -> None:
    """5 % of its runs take 2 s: after enough of them hardly one is left that runs in the fast lane."""
    random, learner = Random(1), Learner(LIMIT)
    in_fast = 0
    for number in range(20_000):
        long = random.random() < 0.05
        if long and number > 5_000 and learner.lane("ws /updates") == FAST:
            in_fast += 1
        learner.learn("ws /updates", 2.0 if long else 0.002)
    assert in_fast <= 5, f"{in_fast} long runs in the fast lane among the last 15,000 runs"


def test_pins_of_the_configuration_are_stronger_than_the_codes() -> None:
    learner = Learner(LIMIT, {"GET /a": FAST})
    learner.pin({"GET /a": SLOW, "GET /b": FAST, "GET /c": "sideways"})
    assert [learner.lane(name) for name in ("GET /a", "GET /b", "GET /c")] == [FAST, FAST, SLOW]
    learner.learn("GET /b", 99.0)
    assert learner.lane("GET /b") == FAST


def test_what_is_held_stays_slow() -> None:
    learner = Learner(LIMIT)
    prove(learner, "ws /loop")
    assert learner.hold("ws /loop", "a loop")
    prove(learner, "ws /loop", 100)
    assert learner.lane("ws /loop") == SLOW
    assert not learner.hold("ws /loop", "a loop")


def test_the_handlers_kept_have_an_end_and_pins_stay() -> None:
    """Event names come from clients, who can make up any number of them."""
    learner = Learner(LIMIT, {"GET /pinned": FAST})
    prove(learner, "GET /busy", 50)
    for number in range(2 * HANDLERS):
        learner.learn(f"ws /updates:{number}", 0.001)
    assert len(learner.profiles()) <= HANDLERS
    assert learner.lane("GET /pinned") == FAST
    assert learner.lane("GET /busy") == FAST


def test_quantiles_are_of_the_last_runs() -> None:
    learner = Learner(LIMIT)
    for number in range(1, 1001):
        learner.learn("GET /", number / 1_000_000)
    profile = learner.profiles()["GET /"]
    assert 0.000_930 < profile.quantile(0.5) < 0.001
    assert profile.worst == 0.001
