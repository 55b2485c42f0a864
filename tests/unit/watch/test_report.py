"""The flame graph's arithmetic, and a page that holds what it must and nothing that could run or load."""

from __future__ import annotations

import re

import pytest

from headgate.watch import flame, report
from headgate.watch.durations import seconds_of
from headgate.watch.model import BLOCKING, COMPUTING, Incident


def incident(seconds: float, *frames: str, at: float = 1_700_000_000.0, **more: object) -> Incident:
    """One with a single stack, outermost first."""
    made = Incident(
        at=at,
        pid=7,
        process="web",
        kind="gevent",
        line="gevent",
        cause=BLOCKING,
        seconds=seconds,
        file="/srv/a.py",
        number=3,
        function="pay",
        code="x = <b>1</b>",
        call="time.sleep",
        fingerprint="f1",
        stacks=[(seconds, list(frames))],
    )
    for key, value in more.items():
        setattr(made, key, value)
    return made


SERVE, PAY, REFUND = "serve /srv/a.py:1", "pay /srv/a.py:3", "refund /srv/a.py:9"


def test_stacks_add_up_and_shares_are_of_the_whole() -> None:
    made = flame.tree([incident(3.0, SERVE, PAY, "time.sleep"), incident(1.0, SERVE, REFUND)])
    boxes = {box.name: box for box in flame.boxes(made)}
    assert {name: (box.depth, box.left, box.width) for name, box in boxes.items()} == {
        "all": (0, 0.0, 1.0),
        "gevent hub": (1, 0.0, 1.0),
        "serve": (2, 0.0, 1.0),
        "pay": (3, 0.0, 0.75),
        "time.sleep": (4, 0.0, 0.75),
        "refund": (3, 0.75, 0.25),
    }
    assert (boxes["pay"].kind, boxes["time.sleep"].kind, boxes["all"].kind) == ("user", "call", "root")


def test_what_runs_the_server_is_left_out_of_the_flames() -> None:
    server = "run /srv/venv/lib/python3.11/site-packages/gunicorn/app/base.py:235"
    names = [box.name for box in flame.boxes(flame.tree([incident(1.0, server, SERVE, PAY)]))]
    assert names == ["all", "gevent hub", "serve", "pay"]


def test_the_page_tells_the_places_and_quotes_what_came_from_outside() -> None:
    hostile = "</script><script>alert(1)</script>"
    page = report.page(
        [
            incident(2.0, SERVE, PAY, handler=hostile, statement="SELECT '<i>'"),
            incident(0.4, SERVE, REFUND, cause=COMPUTING, fingerprint="f2", function="refund"),
            incident(9.0, SERVE, startup=True),
        ],
        f"in {hostile}",
    )
    assert page.count("<script>") == 1
    assert hostile not in page
    assert "SELECT &#x27;&lt;i&gt;&#x27;" in page
    assert "2.40 s" in page, "both places together, without the start-up"
    assert "1 stalls belong to the start" in page
    assert re.search(r"(?:src|href)=", page) is None, "it loads nothing"


def test_a_page_of_nothing_says_so() -> None:
    assert "Nothing stood still" in report.page([], "in the shop")


@pytest.mark.parametrize(
    ("text", "seconds"), [("100ms", 0.1), ("1.5 s", 1.5), ("2", 2.0), ("5min", 300.0), ("2h", 7200.0)]
)
def test_lengths_of_time_as_people_write_them(text: str, seconds: float) -> None:
    assert seconds_of(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "fast", "10 parsecs", "-1s", "0"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no length of time"):
        seconds_of(text)
