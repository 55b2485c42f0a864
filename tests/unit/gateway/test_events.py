from __future__ import annotations

from typing import Any

import pytest

from headgate.gateway.events import LONGEST, Peek

PEEK = Peek(("type", "event", "action"))


@pytest.mark.parametrize(
    ("message", "event"),
    [
        ('{"type":"reprice","table":[1,{"type":"no"}]}', "reprice"),
        ('  {"action":"a","event":"e"}', "e"),
        ('{"type":7,"action":"a"}', "a"),
        ('{"type":"re\\u0070rice"}', "reprice"),
        ('{"type":"has space"}', None),
        ('{"type":"' + "x" * 65 + '"}', None),
        ('{"type":""}', None),
        ('["type"]', None),
        ("nonsense", None),
        ("{broken", None),
        ("", None),
        ("\ud800", None),
        ('{"type":"reprice","pad":"' + "x" * LONGEST + '"}', None),
        (b'{"type":"reprice"}', None),
    ],
)
def test_the_event_of_a_message(message: str | bytes, event: str | None) -> None:
    assert PEEK.event(message) == event


@pytest.mark.parametrize(
    ("message", "found"),
    [('{"id":7}', 7), ('{"id":"a"}', "a"), ('{"id":{"a":1}}', None), ("{}", None), ("x", None), (b"{}", None)],
)
def test_the_id_of_a_message(message: str | bytes, found: Any) -> None:
    assert PEEK.id(message) == found


def test_a_number_that_no_float_holds_is_no_id() -> None:
    peek = Peek(["type"])
    assert peek.id('{"type": "x", "id": 1e999}') is None
    assert peek.event('{"type": "x", "id": 1e999}') == "x"


def test_thousands_of_brackets_are_a_message_without_a_name() -> None:
    deep = '{"event":"x","a":' + "[" * 3000 + "]" * 3000 + "}"
    assert PEEK.event(deep) in (None, "x")
    assert PEEK.id(deep) is None
