from __future__ import annotations

import heapq
from random import Random

import pytest

from headgate.base.errors import Full
from headgate.gateway.lanes import Board, Bounds, Seat, Work
from headgate.gateway.learner import FAST, SLOW, Learner

ROOM = {FAST: Bounds(100, 10.0), SLOW: Bounds(100, 60.0)}


def board(*, lanes: bool = True, pins: dict[str, str] | None = None, room: dict[str, Bounds] = ROOM) -> Board:
    return Board(Learner(0.025, pins or {"quick": FAST, "heavy": SLOW}), room, lanes=lanes)


def test_work_goes_to_its_own_lane_only() -> None:
    lanes = board()
    fast, slow = Seat("f", FAST, 8), Seat("s", SLOW, 1)
    assert lanes.sit(fast) == lanes.sit(slow) == []
    first, second, third = Work("heavy"), Work("heavy"), Work("quick")
    assert lanes.submit(first, 0.0)
    assert not lanes.submit(second, 0.0), "the fast lane has 8 free slots, and must not run it"
    assert lanes.submit(third, 0.0)
    assert (first.seat, second.seat, third.seat) == (slow, None, fast)
    assert lanes.finish(first) is second
    assert second.seat is slow


def test_the_least_loaded_worker_is_taken() -> None:
    lanes = board()
    small, large = Seat("small", FAST, 2), Seat("large", FAST, 8)
    lanes.sit(small)
    lanes.sit(large)
    work = [Work("quick") for _ in range(10)]
    assert all(lanes.submit(one, 0.0) for one in work)
    assert (small.running, large.running) == (2, 8)
    assert not lanes.submit(Work("quick"), 0.0)


def test_a_full_room_refuses_and_says_when_to_come_back() -> None:
    lanes = board(room={FAST: Bounds(2, 10.0), SLOW: Bounds(0, 60.0)})
    assert not lanes.submit(Work("quick"), 0.0)
    assert not lanes.submit(Work("quick"), 0.0)
    with pytest.raises(Full, match="queue_length") as full:
        lanes.submit(Work("quick"), 0.0)
    assert full.value.retry_after > 0
    with pytest.raises(Full):
        lanes.submit(Work("heavy"), 0.0)


def test_work_expires_by_its_lanes_age_and_leaves_room() -> None:
    lanes = board(room={FAST: Bounds(1, 10.0), SLOW: Bounds(1, 60.0)})
    quick, heavy = Work("quick"), Work("heavy")
    lanes.submit(quick, 0.0)
    lanes.submit(heavy, 0.0)
    assert lanes.expired(10.0) == []
    assert lanes.expired(10.1) == [quick]
    assert not lanes.submit(Work("quick"), 11.0)
    assert lanes.state(SLOW, 30.0).oldest_wait == 30.0
    assert set(lanes.expired(60.1)) >= {heavy}


def test_cancelled_work_is_never_started() -> None:
    lanes = board()
    first, second = Work("quick"), Work("quick")
    lanes.submit(first, 0.0)
    lanes.submit(second, 1.0)
    assert lanes.cancel(first)
    assert not lanes.cancel(first)
    assert lanes.state(FAST, 1.0).waiting == 1
    assert lanes.sit(Seat("f", FAST, 8)) == [second]
    assert not lanes.cancel(second), "it runs"


def test_a_cancel_after_the_end_does_not_count_waiting_work_down() -> None:
    """A client often goes away just after its answer: the waiting room must not grow by that."""
    lanes = board(room={FAST: Bounds(1, 10.0), SLOW: Bounds(1, 10.0)})
    lanes.sit(Seat("f", FAST, 1))
    first, second, third = Work("quick"), Work("quick"), Work("quick")
    lanes.submit(first, 0.0)
    lanes.submit(second, 0.0)
    assert lanes.finish(first) is second
    assert lanes.finish(second) is None
    for ended in (first, second):
        assert not lanes.cancel(ended)
    assert lanes.state(FAST, 0.0).waiting == 0
    lanes.submit(first := Work("quick"), 1.0)
    assert not lanes.submit(third, 1.0)
    with pytest.raises(Full):
        lanes.submit(Work("quick"), 1.0)


def test_bounced_work_keeps_its_age_and_its_slot_is_free_again() -> None:
    lanes = board()
    fast, slow = Seat("f", FAST, 1), Seat("s", SLOW, 1)
    lanes.sit(fast)
    lanes.sit(slow)
    running, younger = Work("heavy"), Work("heavy")
    lanes.submit(running, 0.0)
    old, waits = Work("quick"), Work("quick")
    lanes.submit(old, 1.0)
    lanes.submit(younger, 2.0)
    lanes.submit(waits, 3.0)
    assert lanes.bounce(old, SLOW) == [waits]
    assert lanes.finish(running) is old, "it is older than what waited there before it"
    assert lanes.finish(old) is younger


def test_a_draining_worker_gets_nothing_new() -> None:
    lanes = board()
    seat = Seat("f", FAST, 2)
    lanes.sit(seat)
    first, second = Work("quick"), Work("quick")
    lanes.submit(first, 0.0)
    lanes.drain(seat)
    assert not lanes.submit(second, 0.0)
    assert lanes.finish(first) is None
    assert not lanes.has(FAST)
    assert lanes.sit(Seat("f2", FAST, 2)) == [second]


def test_a_lost_workers_seat_takes_no_more() -> None:
    lanes = board()
    seat = Seat("f", FAST, 1)
    lanes.sit(seat)
    lanes.leave(seat)
    assert not lanes.submit(Work("quick"), 0.0)


def test_waiting_work_moves_when_its_handler_changes_lanes() -> None:
    learner = Learner(0.025)
    lanes = Board(learner, ROOM)
    lanes.sit(Seat("f", FAST, 1))
    work = [Work("GET /") for _ in range(3)]
    for number, one in enumerate(work):
        assert not lanes.submit(one, float(number)), "unproven, and the slow lane has no worker"
    for _ in range(5):
        learner.learn("GET /", 0.001)
    assert lanes.relane() == [work[0]]
    assert lanes.finish(work[0]) is work[1]
    assert (lanes.state(FAST, 5.0).waiting, lanes.state(SLOW, 5.0).waiting) == (1, 0)


def test_with_lanes_off_everything_is_one_pool() -> None:
    lanes = board(lanes=False)
    seat = Seat("only", SLOW, 2)
    lanes.sit(seat)
    quick, heavy = Work("quick"), Work("heavy")
    assert lanes.submit(quick, 0.0)
    assert lanes.submit(heavy, 0.0)
    assert lanes.has(FAST)
    assert lanes.has(SLOW)


@pytest.mark.parametrize("seed", range(8))
def test_a_fast_handlers_wait_is_bounded_by_the_fast_lanes_own_work(seed: int) -> None:
    """Whatever the slow handlers do: with and without them, each fast request waits exactly as long.

    A virtual clock; fast requests of 1–20 ms at up to full load, slow ones of 0.1–30 s far beyond what the slow
    lane can do. The fast ones' waits are the same to the microsecond as in a world without any slow one.
    """
    random = Random(seed)
    quick = sorted((random.uniform(0, 20), random.uniform(0.001, 0.020)) for _ in range(3_000))
    heavy = sorted((random.uniform(0, 20), random.uniform(0.1, 30.0)) for _ in range(random.randrange(50, 2_000)))
    alone = simulate(quick, [])
    assert simulate(quick, heavy) == alone
    assert simulate(quick, heavy, with_lanes=False) != alone, "without lanes they do wait for the slow ones"


@pytest.mark.parametrize("seed", range(4))
def test_handlers_that_are_now_fast_and_now_slow_cost_the_fast_lane_less_and_less(seed: int) -> None:
    """With the learner at work: what slow runs take of the fast lane is bounded, however many of them there are."""
    random = Random(seed)
    learner = Learner(0.025, {"quick": FAST})
    names = [f"bimodal {number}" for number in range(10)]
    stolen, slow_runs = 0.0, 0
    for _ in range(20_000):
        name = random.choice(names)
        run = random.uniform(0.3, 2.0) if random.random() < 0.1 else random.uniform(0.001, 0.01)
        slow_runs += run > 0.25
        if run > 0.25 and learner.lane(name) == FAST:
            stolen += run
        learner.learn(name, run)
    assert slow_runs > 1_500
    assert stolen <= len(names) * 12 * 2.0, "each is let in a dozen times at most, and each time for one slow run"


def simulate(
    quick: list[tuple[float, float]], heavy: list[tuple[float, float]], *, with_lanes: bool = True
) -> list[float]:
    """The waits of the quick requests, in the order of their arrival."""
    lanes = board(lanes=with_lanes, room={FAST: Bounds(10_000, 1e9), SLOW: Bounds(100, 5.0)})
    for name in ("f1", "f2"):
        lanes.sit(Seat(name, FAST, 2))
    lanes.sit(Seat("s1", SLOW, 4))
    took: dict[Work, float] = {}
    began: dict[Work, float] = {}
    running: list[tuple[float, int, Work]] = []
    arrivals = [(at, "quick", run) for at, run in quick] + [(at, "heavy", run) for at, run in heavy]
    order: list[Work] = []

    def start(work: Work, now: float) -> None:
        assert work.seat is not None
        assert not with_lanes or (work.seat.lane == FAST) == (work.handler == "quick")
        began[work] = now
        heapq.heappush(running, (now + took[work], id(work), work))

    def run_until(limit: float) -> None:
        while running and running[0][0] <= limit:
            now, _, work = heapq.heappop(running)
            following = lanes.finish(work)
            if following is not None:
                start(following, now)

    for at, handler, run in sorted(arrivals):
        run_until(at)
        lanes.expired(at)
        work = Work(handler)
        took[work] = run
        try:
            if lanes.submit(work, at):
                start(work, at)
        except Full:
            assert handler == "heavy"
            continue
        if handler == "quick":
            order.append(work)
    run_until(float("inf"))
    return [began[work] - work.since for work in order]
