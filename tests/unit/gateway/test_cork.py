"""Whether a client takes what there is for it, and how much is said about what clients do."""

from __future__ import annotations

import logging

import pytest

from headgate.gateway.cork import Sent
from headgate.gateway.noted import EVERY, Noted


def test_a_client_stalls_from_the_last_byte_that_it_took() -> None:
    sent = Sent()
    sent.bytes = 1000
    assert sent.stalled(0, 1.0) == 0
    assert sent.stalled(600, 2.0) == 0
    assert sent.stalled(600, 5.0) == 3
    sent.bytes += 50  # more for it, which it does not take either
    assert sent.stalled(650, 6.0) == 4
    assert sent.stalled(640, 7.0) == 0
    assert sent.stalled(640, 9.0) == 2
    assert sent.stalled(0, 10.0) == 0
    assert sent.stalled(640, 11.0) == 0


def test_a_kind_of_line_is_said_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    now = [100.0]
    noted = Noted(logging.getLogger("headgate.test"), lambda: now[0])
    for number in range(5):
        noted.warn("a", "a %d", number)
    noted.warn("b", "b")
    now[0] += EVERY
    noted.warn("a", "a %d", 9)
    assert [record.getMessage() for record in caplog.records] == [
        "a 0",
        "b",
        "a 9 (and 4 more since the last such line)",
    ]
