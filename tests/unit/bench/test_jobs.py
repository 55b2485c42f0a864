"""The deciding parts of the job benchmark: what its files say, and one producer for engines with and without a loop."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench.jobs import producer
from bench.jobs.crash import CAP, begins, shown
from bench.jobs.hosts import APPS, ENGINES
from bench.jobs.speed import RECORD, lines, throughput


def write_lines(folder: Path, moments: list[tuple[float, float]]) -> None:
    (folder / "lines").write_bytes(b"".join(RECORD.pack(*pair) for pair in moments) + b"half a rec")


def test_a_half_written_line_is_no_line(tmp_path: Path) -> None:
    assert lines(tmp_path) == []
    write_lines(tmp_path, [(1.0, 2.0), (1.5, 2.5)])
    assert lines(tmp_path) == [(1.0, 2.0), (1.5, 2.5)]


def test_throughput_leaves_out_the_workers_start(tmp_path: Path) -> None:
    # 100 jobs, one every 10 ms, of which the first came five seconds before the others
    write_lines(tmp_path, [(0.0, 1.0), *((0.0, 6.0 + 0.01 * n) for n in range(1, 100))])
    assert throughput(tmp_path) == pytest.approx(100, rel=0.02)


def test_begins_and_how_long_it_took(tmp_path: Path) -> None:
    assert begins(tmp_path) == []
    (tmp_path / "crashes").write_text("12 100.5\n13 101.75\n")
    assert begins(tmp_path) == [(12, 100.5), (13, 101.75)]
    assert [shown(seconds) for seconds in (0.314, 12.34, CAP)] == ["0.31", "12.3", "> 60"]


class Recorded(ModuleType):
    """An engine that remembers its calls."""

    def __init__(self, *, loop: bool) -> None:
        super().__init__("recorded")
        self.calls: list[str] = []
        self.ASYNC = loop
        for name in ("put", "result", "put_crash", *(("start", "stop") if loop else ())):
            setattr(self, name, self._waiting(name) if loop else self._direct(name))

    def _direct(self, name: str) -> Any:
        return lambda *_: self.calls.append(name)

    def _waiting(self, name: str) -> Any:
        async def call(*_: Any) -> None:
            self.calls.append(name)

        return call


@pytest.mark.parametrize("loop", [False, True])
def test_one_producer_drives_engines_with_and_without_a_loop(
    loop: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = Recorded(loop=loop)
    monkeypatch.setitem(sys.modules, "recorded", engine)
    monkeypatch.setattr(producer, "GAP", 0.0)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for order in (["load", "3"], ["idle", "2"], ["crash"]):
        monkeypatch.setattr(sys, "argv", ["producer.py", "recorded", *order])
        producer.main()
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (printed[0], len(printed[1]["result"]), printed[2]) == ({}, 2, {})
    wanted = [["put"] * 3, ["put", "result"] * 7, ["put_crash"]]
    if loop:
        wanted = [["start", *calls, "stop"] for calls in wanted]
    assert engine.calls == [call for calls in wanted for call in calls]


@pytest.mark.parametrize("key", ENGINES)
def test_each_engine_has_its_app_and_its_settings_written_down(key: str) -> None:
    engine = ENGINES[key]
    assert (APPS / f"{engine.module}.py").exists()
    assert engine.settings
    assert engine.speed or engine.crash
    if engine.peer is not None:
        assert engine.peer.requirements.exists()
        assert engine.workers
