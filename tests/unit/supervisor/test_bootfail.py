"""Boot failures as their user reads them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from headgate.base.errors import ConfigError, Unavailable
from headgate.supervisor.bootfail import describe
from headgate.supervisor.channel import Failed


def failure(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Failed:
    """What importing an app with this code is described as."""
    (tmp_path / "theirapp.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("theirapp", None)
    importlib.invalidate_caches()
    try:
        importlib.import_module("theirapp")
    except BaseException as exc:
        return describe(exc)
    raise AssertionError("it was to fail")


def test_the_traceback_begins_in_the_users_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = failure("def connect():\n    raise RuntimeError('no database')\nconnect()\n", tmp_path, monkeypatch)
    assert told.message == "RuntimeError: no database"
    assert not told.config
    frames = [line for line in told.traceback.splitlines() if line.startswith("  File ")]
    assert ["theirapp.py" in frame for frame in frames[-2:]] == [True, True]
    assert not any("importlib" in frame for frame in frames[:1])


def test_a_syntax_error_names_its_line_and_no_machinery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirapp.py").write_text("x = (\n")
    try:
        compile("x = (\n", str(tmp_path / "theirapp.py"), "exec")
    except SyntaxError as exc:
        told = describe(exc.with_traceback(None))
    assert "theirapp.py" in told.traceback
    assert "'(' was never closed" in told.message


def test_our_own_errors_teach_by_their_message_alone() -> None:
    assert describe(ConfigError("no such app")) == Failed("no such app", "", True)
    assert describe(Unavailable("no broker")) == Failed("no broker", "", False)


def test_our_own_errors_show_their_cause() -> None:
    try:
        try:
            raise KeyError("orders")
        except KeyError as exc:
            raise ConfigError("the factory failed") from exc
    except ConfigError as exc:
        told = describe(exc)
    assert told.message == "the factory failed"
    assert "KeyError: 'orders'" in told.traceback


def test_sys_exit_is_called_by_its_name() -> None:
    assert describe(SystemExit(3)).message == "The process called sys.exit(3) before it was ready."


def test_an_error_without_text_is_its_type() -> None:
    assert describe(RecursionError()).message == "RecursionError"
