"""What a run may be asked to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headgate.simulate.errors import BadInput, ScenarioError
from headgate.simulate.faults import parse_fault
from headgate.simulate.plan import Options, Plan, make_plan


def plan(target: str = "ws://127.0.0.1:1/", **options: Any) -> Plan:
    return make_plan(Options(target, **options))


def test_a_target_is_enough() -> None:
    made = plan()
    assert (made.load.most_users, made.load.seconds, made.heavy, made.protocol) == (100, 60, 0.05, "websocket")
    assert (made.processes, made.sources) == (1, [])


@pytest.mark.parametrize(
    ("target", "protocol", "found", "scenario"),
    [
        ("ws://h/", "auto", "websocket", "clicks"),
        ("https://h/", "auto", "http", "http-clicks"),
        ("http://h/ns", "socketio", "socketio", "socketio-clicks"),
        ("ws://h", "socketio-polling", "socketio-polling", "socketio-clicks"),
        ("http://h", "socketio-upgrade", "socketio-upgrade", "socketio-clicks"),
    ],
)
def test_protocols(target: str, protocol: str, found: str, scenario: str) -> None:
    made = plan(target, protocol=protocol)
    assert (made.protocol, made.options.scenario) == (found, scenario)


def test_many_users_get_more_processes_and_source_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    made = plan(users=20_000)
    assert (made.processes, made.sources) == (4, ["127.0.0.1", "127.0.0.2"])
    assert plan("ws://example.org/", users=20_000).sources == []


def test_specs_carry_the_whole_run() -> None:
    made = plan(processes=2, seed=7, users=3, params={"a": 1}, ordered=False)
    specs = [made.spec(index, {"s": 2}) for index in range(2)]
    assert [(s.index, s.processes, s.seed, s.shared) for s in specs] == [(0, 2, 7, {"s": 2}), (1, 2, 7, {"s": 2})]
    assert (specs[0].params, specs[0].overrides) == ({"a": 1}, {"ordered": False})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "127.0.0.1:8000"}, "must be a URL"),
        ({"target": "ftp://h/"}, "must be a URL"),
        ({"target": "ws://h:port/"}, "is not a URL"),
        ({"target": "http://h/", "protocol": "websocket"}, "starts with ws://"),
        ({"target": "ws://h/", "protocol": "http"}, "starts with http://"),
        ({"protocol": "carrier-pigeon"}, "unknown"),
        ({"users": 0}, "no users"),
        ({"users": 10**9}, "more than"),
        ({"rate": "0/s"}, "nobody would ever click"),
        ({"seconds": 0.0}, "no length"),
        ({"heavy": 1.5}, "outside 0 to 1"),
        ({"warmup": 60.0}, "leaves nothing"),
        ({"timeout": 0.0}, "timeout must be above zero"),
        ({"processes": 1000}, "1 to 64"),
        ({"sources": 1000}, "1 to 250"),
        ({"target": "ws://example.org/", "sources": 2}, "not on this machine"),
        ({"pace": "odd"}, "pace"),
        ({"slo": ["be quick"]}, "not understood"),
        ({"faults": ["meteor@1s"]}, "not understood"),
        ({"faults": ["reload"]}, "not understood"),
        ({"faults": ["kill@1s,role=app,what=2"]}, "unknown option"),
        ({"faults": ["slow-uploads@1s,count=none"]}, "whole number"),
        ({"faults": ["reconnect-storm@2m"]}, "after the run's end"),
        ({"target": "ws://example.org/", "faults": ["kill@1s"]}, "is not local"),
        ({"faults": ["kill@1s"], "data": "/nowhere/at/all"}, "no data folder"),
        ({"scenario": "nothing.py"}, "no scenario file"),
        ({"scenario": "no_such_module_at_all"}, "neither built in"),
        ({"scenario": "json"}, "defines no subclass"),
        ({"scenario": "headgate.simulate.builtin:Nobody"}, "no Scenario class named"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        plan(**options)


def test_a_file_with_two_scenarios_wants_a_name(tmp_path: Path) -> None:
    path = tmp_path / "two.py"
    path.write_text(
        "from headgate.simulate.scenario import Scenario\n"
        "class A(Scenario):\n    users = 5\nclass B(Scenario):\n    users = 6\n"
    )
    with pytest.raises(BadInput, match="several scenarios \\(A, B\\)"):
        plan(scenario=str(path))
    assert plan(scenario=f"{path}:B").load.most_users == 6


def test_a_file_that_raises_is_shown_with_its_traceback(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("1 / 0\n")
    with pytest.raises(ScenarioError, match=r"(?s)broken\.py.*ZeroDivisionError"):
        plan(scenario=str(path))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("reconnect-storm@20s", "reconnect storm (50% of the users)"),
        ("stalled-readers@20s,share=20%,for=5s", "20% of the users stop reading for 5 s"),
        ("slow-uploads@1m,count=3,for=2s,bytes=10,path=/up", "3 slow uploads for 2 s"),
        ("kill@5s,role=gateway", "kill -9 of one gateway process"),
        ("reload@5s", "reload"),
    ],
)
def test_faults_are_read(text: str, label: str) -> None:
    assert parse_fault(text).label == label
