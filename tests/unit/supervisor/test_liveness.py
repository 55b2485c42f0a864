"""Silence, told apart: a stalled loop, a busy worker, a stopped process, a supervisor that was away itself."""

from __future__ import annotations

import pytest

from headgate.supervisor.events import Place
from tests.unit.supervisor.stories import BROKER, FAST, GATEWAY, JOBS, Stage


@pytest.mark.parametrize(("place", "name"), [(GATEWAY, "gateway"), (BROKER, "broker")])
def test_a_silent_loop_is_killed_and_replaced(place: Place, name: str) -> None:
    stage = Stage([place]).booted()
    assert stage.play("wait 15") == []
    assert stage.play("wait 1") == [f"kill {name}"]
    orders = stage.play(f"{name} exits -9")
    assert orders[-1].startswith(f"spawn {name}#2 gen 1")
    assert "was silent for 16 s" in stage.log


def test_one_that_beats_lives() -> None:
    stage = Stage([GATEWAY]).booted()
    for _ in range(10):
        assert stage.play("wait 10", "gateway beats") == []


def test_a_silent_worker_is_asked_about_before_it_is_judged() -> None:
    stage = Stage([FAST]).booted()
    assert stage.play("wait 7") == []
    assert stage.play("wait 1") == ["probe fast"]


@pytest.mark.parametrize("name", ["fast", "jobs"])
def test_a_busy_worker_is_never_killed(name: str) -> None:
    stage = Stage([FAST, JOBS]).booted()
    for second in range(600):
        assert f"kill {name}" not in stage.play(f"{name} cpu {second * 0.9}", "wait 1")


def test_a_worker_that_is_silent_and_idle_is_killed() -> None:
    stage = Stage([JOBS]).booted()
    kills = []
    for second in range(17):
        kills += [(second, order) for order in stage.play("jobs cpu 3.01") if order == "kill jobs"]
        stage.play("wait 1")
    assert kills == [(16, "kill jobs")]


def test_a_little_cpu_over_a_long_time_is_a_sign_of_life() -> None:
    stage = Stage([JOBS]).booted()
    for second in range(300):
        assert "kill jobs" not in stage.play(f"jobs cpu {second * 0.01}", "wait 1")


def test_a_worker_stopped_by_a_debugger_is_left_alone() -> None:
    stage = Stage([FAST]).booted()
    for _ in range(300):
        assert "kill fast" not in stage.play("fast stopped", "wait 1")


def test_where_the_system_does_not_answer_no_worker_is_killed() -> None:
    stage = Stage([FAST, JOBS]).booted()
    assert set(stage.play("wait 600")) == {"probe fast", "probe jobs"}


def test_after_a_beat_the_idle_time_is_counted_anew() -> None:
    stage = Stage([FAST]).booted()
    stage.play("wait 8", "fast cpu 1", "fast beats", "wait 10", "fast cpu 1")
    assert stage.play("wait 6", "fast cpu 1") == []
    assert stage.play("wait 3", "fast cpu 1") == ["kill fast"]


def test_a_supervisor_that_was_held_up_forgives_silence() -> None:
    stage = Stage([GATEWAY]).booted()
    stage.play("wait 1")
    assert stage.play("sleep 600") == []
    assert stage.play("wait 15") == []
    assert stage.play("wait 1") == ["kill gateway"]


def test_a_booting_process_is_not_asked_for_beats() -> None:
    stage = Stage([FAST])
    stage.play("start")
    assert stage.play("wait 59") == []
