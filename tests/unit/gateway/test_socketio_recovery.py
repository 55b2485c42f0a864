"""Who may come back, and what they get: a table of histories."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.gateway.socketio import recovery
from headgate.gateway.socketio.codec import Parcel
from headgate.gateway.socketio.recovery import Away, Recovery


def away(kept: Recovery, **changes: Any) -> Away:
    given: dict[str, Any] = {
        "pid": "pid",
        "sid": "me",
        "namespace": "/",
        "rooms": {"r": 0},
        "state": {},
        "opened_at": 0,
        "confirmed": 0,
        "expires": 100.0,
    }
    made = Away(**{**given, **changes})
    kept.leave(made)
    return made


def emits(kept: Recovery, *rooms: list[Any] | None, skip: list[str] | None = None) -> None:
    for one in rooms:
        kept.keep(0.0, "/", one, skip or [], Parcel(f'2["{kept.last + 1}"]'))


def numbers(kept: Recovery, sid: str, rooms: dict[Any, int], after: int) -> list[int]:
    return [parcel.number for parcel in kept.missed(sid, "/", rooms, after)]


@pytest.mark.parametrize(
    ("offset", "after"),
    [
        ("{boot}.3", 3),
        ("{boot}.0", 1),  # before it was there
        (None, 1),  # it dropped before its first event
        ("a text of the app", 2),  # what a ping has confirmed
        ("{boot}.99", 2),  # nobody sent that
        ("000000.3", 2),  # of a gateway that is no more
        (7, 2),
    ],
)
def test_where_it_goes_on(offset: Any, after: int) -> None:
    kept = Recovery(60)
    emits(kept, None, None, None, None)
    away(kept, opened_at=1, confirmed=2)
    given = offset.replace("{boot}", kept.boot) if isinstance(offset, str) else offset
    found = kept.back("pid", "/", given, 10.0)
    assert found is not None
    assert found[1] == after
    assert kept.recovered == 1
    assert kept.back("pid", "/", given, 10.0) is None, "once only"


def test_what_it_gets() -> None:
    kept = Recovery(60)
    emits(kept, None, ["r"], ["other"], ["me"], ["r", "other"], ["you"])
    emits(kept, ["r"], skip=["me"])
    kept.keep(0.0, "/elsewhere", None, [], Parcel("2[1]"))
    assert numbers(kept, "me", {"r": 0}, 0) == [1, 2, 4, 5]
    assert numbers(kept, "me", {"r": 3}, 0) == [1, 4, 5], "not what was said before it came in"
    assert numbers(kept, "me", {"r": 0}, 4) == [5]


def test_too_late_or_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Recovery(60)
    away(kept, expires=5.0)
    assert kept.back("pid", "/", None, 6.0) is None
    away(kept)
    assert kept.back("pid", "/other", None, 6.0) is None
    monkeypatch.setattr(recovery, "MOST_BYTES", 1000)
    away(kept)
    emits(kept, *[None] * 20)
    assert kept.back("pid", "/", None, 6.0) is None, "some of what it missed is gone: better no than a gap"
    assert kept.refused == 3
    away(kept)
    found = kept.back("pid", "/", kept.offset(18), 6.0)
    assert found is not None
    assert numbers(kept, "me", {}, found[1]) == [19, 20]


def test_time_passes() -> None:
    kept = Recovery(60)
    away(kept, expires=60.0)
    emits(kept, None, None)
    kept.second(59.0)
    assert len(kept) == 1
    kept.second(61.0)
    assert len(kept) == 0
    kept.second(121.0)
    assert numbers(kept, "me", {}, 0) == []
    assert not Recovery(0).on
