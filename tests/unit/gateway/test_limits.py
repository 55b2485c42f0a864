from __future__ import annotations

from random import Random

from headgate.gateway.limits import Bucket, PerKey


def test_a_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    bucket = Bucket(10, burst=5)
    assert [bucket.take(100.0) for _ in range(5)] == [0.0] * 5
    assert round(bucket.take(100.0), 6) == 0.1
    assert bucket.take(100.11) == 0.0
    assert bucket.take(100.11) > 0


def test_no_rate_is_no_bound() -> None:
    bucket = Bucket(0)
    assert not any(bucket.take(1.0) for _ in range(10_000))


def test_over_any_time_no_more_than_rate_and_burst_come_through() -> None:
    random, bucket, now, passed = Random(3), Bucket(50, burst=100), 1.0, 0
    while now < 21.0:
        passed += bucket.take(now) == 0.0
        now += random.random() * 0.004
    assert passed <= 100 + 50 * 20 + 1
    assert passed >= 50 * 20


def test_sockets_per_address() -> None:
    held = PerKey(2)
    assert held.take("a")
    assert held.take("a")
    assert not held.take("a")
    assert held.take("b")
    assert held.take("")
    held.give("a")
    assert held.take("a")
    for address in ("a", "a", "b"):
        held.give(address)
    assert len(held) == 0
