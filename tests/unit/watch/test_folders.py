"""Folders of runs: each run has its own, and one that goes on is not taken away under it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headgate.watch import board, folders


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No folder of a run is kept longer than it goes on."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(folders, "KEPT", 0)
    return folders.base()


def test_runs_with_the_same_process_number_have_folders_of_their_own(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "KEPT", 20)
    made = [folders.for_run("/usr/bin/gunicorn").name for _ in range(3)]
    name = f"gunicorn-{os.getpid()}"
    assert made == [name, f"{name}.2", f"{name}.3"]


def test_a_run_that_is_over_is_removed(runs: Path) -> None:
    old = runs / "old-1"
    old.mkdir()
    with folders.held(old):
        assert folders.goes_on(old)
    board.Board(old, "p", 1).cells[board.H_BORN] += 1  # its number is another process's
    folders.for_run("new")
    assert not old.exists()


def test_a_run_that_is_observed_stays(runs: Path) -> None:
    old = runs / "old-1"
    old.mkdir()
    with folders.held(old):
        folders.for_run("new")
        assert old.is_dir()


def test_a_run_of_which_a_process_lives_stays(runs: Path) -> None:
    old = runs / "old-1"
    old.mkdir()
    made = board.Board(old, "p", 1)
    folders.for_run("new")
    assert made.path is not None
    assert made.path.exists()
