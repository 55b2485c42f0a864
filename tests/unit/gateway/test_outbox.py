from __future__ import annotations

from random import Random

import pytest

from headgate.gateway.outbox import DROP, KEEP, LATEST, Outbox, Overflow


def drain(outbox: Outbox) -> list[bytes]:
    frames = []
    while (item := outbox.pop()) is not None:
        frames.append(item[0])
    return frames


def test_order_is_kept() -> None:
    outbox = Outbox(1000, 30)
    for number in range(10):
        outbox.push(b"%d" % number, KEEP if number % 2 else DROP, 0.0)
    assert drain(outbox) == [b"%d" % number for number in range(10)]
    assert outbox.bytes == 0


def test_of_progress_the_newest_stays_in_its_new_place() -> None:
    outbox = Outbox(1000, 30)
    outbox.push(b"p1", LATEST, 0.0, "jobs/a")
    outbox.push(b"log", KEEP, 0.0)
    outbox.push(b"q1", LATEST, 0.0, "jobs/b")
    outbox.push(b"p2", LATEST, 0.0, "jobs/a")
    assert drain(outbox) == [b"log", b"q1", b"p2"]
    outbox.push(b"p3", LATEST, 0.0, "jobs/a")
    assert drain(outbox) == [b"p3"]


def test_channel_messages_give_way_oldest_first() -> None:
    outbox = Outbox(100, 30)
    outbox.push(b"k" * 20, KEEP, 0.0)
    for number in range(10):
        outbox.push(b"%d" % number * 10, DROP, 0.0)
    assert outbox.dropped == 5, "they have half of the bytes"
    assert drain(outbox) == [b"k" * 20, *(b"%d" % number * 10 for number in range(5, 10))]


def test_what_must_be_kept_pushes_channel_messages_out_and_then_overflows() -> None:
    outbox = Outbox(100, 30)
    for number in range(5):
        outbox.push(b"%d" % number * 10, DROP, 0.0)
    for _ in range(10):
        outbox.push(b"a" * 10, KEEP, 0.0)
    assert outbox.dropped == 5
    with pytest.raises(Overflow, match="100 bytes unread"):
        outbox.push(b"a", KEEP, 0.0)


def test_one_frame_over_the_limit_goes_when_nothing_else_waits() -> None:
    outbox = Outbox(100, 30)
    outbox.push(b"x" * 500, KEEP, 0.0)
    with pytest.raises(Overflow):
        outbox.push(b"y", KEEP, 0.0)
    outbox = Outbox(100, 30)
    outbox.push(b"x" * 500, DROP, 0.0)
    assert outbox.dropped == 1


def test_an_answer_that_waits_too_long_is_told() -> None:
    outbox = Outbox(100, 30)
    outbox.push(b"channel", DROP, 0.0)
    outbox.check(1000.0)
    outbox.push(b"answer", KEEP, 1000.0)
    outbox.check(1030.0)
    with pytest.raises(Overflow, match="unread for 30 s"):
        outbox.check(1030.1)


def test_credit_comes_back_when_the_frame_goes_out() -> None:
    outbox = Outbox(10, 30)
    outbox.push(b"p" * 50, KEEP, 0.0, None, 50)
    outbox.push(b"q" * 50, KEEP, 0.0, None, 50)
    assert outbox.pop() == (b"p" * 50, 50)
    assert outbox.pop() == (b"q" * 50, 50)


def test_holes_do_not_pile_up_while_a_client_is_stalled() -> None:
    outbox = Outbox(1_000, 30)
    for number in range(100_000):
        outbox.push(b"x" * 10, DROP if number % 2 else LATEST, 0.0, "jobs/a")
    assert outbox.bytes <= 1_000
    assert len(outbox._items) <= 200


@pytest.mark.parametrize("seed", range(5))
def test_the_bound_holds_and_nothing_kept_is_lost_whatever_comes(seed: int) -> None:
    random = Random(seed)
    outbox = Outbox(500, 30)
    kept: list[bytes] = []
    newest: dict[str, bytes] = {}
    got: list[bytes] = []
    for number in range(5_000):
        frame = b"%06d" % number + b"." * random.randrange(60)
        kind, key = random.choice((KEEP, LATEST, DROP)), random.choice(("a", "b"))
        try:
            outbox.push(frame, kind, 0.0, key)
        except Overflow:
            pass
        else:
            if kind == KEEP:
                kept.append(frame)
            elif kind == LATEST:
                newest[key] = frame
        assert outbox.bytes <= 500
        assert outbox.bytes == sum(len(item.frame) for item in outbox._items if item.frame is not None)
        while random.random() < 0.45 and (item := outbox.pop()) is not None:
            got.append(item[0])
    got += drain(outbox)
    assert [frame for frame in got if frame in set(kept)] == kept
    assert set(newest.values()) <= set(got)
    assert got == sorted(got)
