"""Amounts as people write them."""

from __future__ import annotations

import pytest

from headgate.simulate.amounts import Rate, parse_duration, parse_rate, parse_share, show_seconds
from headgate.simulate.errors import BadInput


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("250ms", 0.25), ("1m30s", 90), ("2min", 120), ("1h30m", 5400), ("500us", 0.0005)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "10 parsecs", "1s2", "-5s", "1e3s", "9999h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"write it like|longer than a week"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("0.05", 0.05), ("100%", 1.0), ("0", 0.0)])
def test_shares(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "%", "5", "101%", "-1%", "half"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="share"):
        parse_share(text)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("0.2/user", Rate(0.2, True)),
        ("50/s", Rate(50, False)),
        ("3000/min", Rate(50, False)),
        ("6/user/min", Rate(0.1, True)),
    ],
)
def test_rates(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "50", "fast", "50/fortnight", "/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="rate"):
        parse_rate(text)


def test_a_rate_of_all_users_is_shared_out() -> None:
    assert parse_rate("50/s").each(200) == 0.25
    assert parse_rate("0.2/user").each(200) == 0.2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.00085, "850 µs"), (0.0123, "12.3 ms"), (4.56, "4.56 s"), (150, "2.5 min"), (float("inf"), "∞")],
)
def test_times_are_shown_for_people(seconds: float, text: str) -> None:
    assert show_seconds(seconds) == text
