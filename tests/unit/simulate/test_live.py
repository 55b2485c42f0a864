"""The live view: on a terminal a picture, in a log a line."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from headgate.simulate.histogram import Histogram
from headgate.simulate.live import LiveView
from headgate.simulate.orders import Pulse
from headgate.simulate.plan import Options, make_plan


def pulse(at: float, index: int = 0, phase: str = "running", **counts: int) -> Pulse:
    histogram = Histogram(2)
    histogram.record(0.0123)
    return Pulse(index, at, 50, 3, counts, {"click": histogram.encode()}, 0.25, 0.002, phase)


def view(**console: Any) -> tuple[LiveView, io.StringIO]:
    out = io.StringIO()
    plan = make_plan(Options("ws://127.0.0.1:1/", users=100, seconds=60.0))
    return LiveView(plan, enabled=True, console=Console(file=out, width=140, **console)), out


def test_the_picture_adds_up_the_processes() -> None:
    live, _ = view()
    live.pulse(pulse(10.0, 0, answered=100))
    live.pulse(pulse(10.0, 1, answered=50, lost=2))
    console = Console(file=io.StringIO(), width=140)
    with console.capture() as captured:
        console.print(live.render())
    text = captured.get()
    for words in ("running", "10 / 60 s", "100 of 100 users connected", "6 clicks under way", "12.4 ms", "lost 2"):
        assert words in text


def test_the_rate_is_that_of_the_last_moments() -> None:
    live, _ = view()
    for step in range(10):
        live.pulse(pulse(step / 2, answered=20 * step))
    console = Console(width=140)
    with console.capture() as captured:
        console.print(live.render())
    assert "40 answers/s" in captured.get()


def test_a_terminal_is_drawn_on_and_left_clean() -> None:
    live, out = view(force_terminal=True)
    with live:
        live.pulse(pulse(1.0))
    assert "\x1b[" in out.getvalue()


def test_a_log_gets_a_line_now_and_then() -> None:
    live, out = view(force_terminal=False)
    with live:
        live.pulse(pulse(-1.0, phase="connecting"))
        for step in range(60):
            live.pulse(pulse(step / 2))
        live.pulse(pulse(30.0, phase="draining"))
    lines = out.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["connecting", "running", "running", "running", "draining"]
    assert "no errors" in lines[1]


def test_a_disabled_view_listens_in_silence() -> None:
    out = io.StringIO()
    plan = make_plan(Options("ws://127.0.0.1:1/"))
    with LiveView(plan, enabled=False, console=Console(file=out)) as live:
        live.pulse(pulse(1.0, answered=5))
        live.keep_stderr("printed")
    assert (out.getvalue(), live.totals["answered"], live.stderr) == ("", 5, "printed")
