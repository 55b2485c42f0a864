"""Taking a data folder: its lock, its secret, its permissions, and the refusals."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from headgate.base.errors import ConfigError
from headgate.config.settings import Settings
from headgate.supervisor import folder


def settings(data: Path, secret: str = "") -> Settings:
    return Settings(data=str(data), secret=secret, gateways=1)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_may_enter(tmp_path: Path) -> None:
    possession = folder.take(settings(tmp_path / "a" / "d"))
    try:
        assert [mode(tmp_path / "a" / "d" / inner) for inner in (".", "run", "spool")] == [0o700] * 3
        assert (tmp_path / "a/d/run/supervisor.pid").read_text() == f"{os.getpid()}\n"
    finally:
        possession.close()
    assert not (tmp_path / "a/d/run/supervisor.pid").exists()


def test_git_is_told_to_leave_it_alone_once(tmp_path: Path) -> None:
    folder.take(settings(tmp_path / "d")).close()
    ignore = tmp_path / "d" / ".gitignore"
    assert ignore.read_text() == "*\n"
    ignore.write_text("!broker.db\n")
    folder.take(settings(tmp_path / "d")).close()
    assert ignore.read_text() == "!broker.db\n"


def test_a_second_one_is_refused_by_name_and_a_third_after_the_first_is_not(tmp_path: Path) -> None:
    first = folder.take(settings(tmp_path))
    with pytest.raises(ConfigError, match=rf"Another Headgate \(pid {os.getpid()}\) runs on the data folder"):
        folder.take(settings(tmp_path))
    first.close()
    folder.take(settings(tmp_path)).close()


def test_a_dead_holder_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import os; from headgate.config.settings import Settings; from headgate.supervisor import folder\n"
        f"kept = folder.take(Settings(data={str(tmp_path)!r})); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    folder.take(settings(tmp_path)).close()


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "d").touch()
    with pytest.raises(ConfigError, match=r"cannot be made: .*/d is a file\. Name a folder with --data"):
        folder.take(settings(tmp_path / "d"))


def test_a_path_too_long_for_sockets_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    with pytest.raises(ConfigError, match=r"the system allows \d+ for a Unix socket: give a data folder"):
        folder.take(settings(deep))
    assert not deep.exists()


def test_the_secret_is_made_once_and_kept_private(tmp_path: Path) -> None:
    made = folder.secret(settings(tmp_path))
    assert len(bytes.fromhex(made)) == 32
    assert mode(tmp_path / "secret") == 0o600
    assert folder.secret(settings(tmp_path)) == made


def test_the_setting_comes_before_the_file(tmp_path: Path) -> None:
    assert folder.secret(settings(tmp_path, secret="from the settings")) == "from the settings"
    assert not (tmp_path / "secret").exists()


def test_an_empty_secret_signs_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    with pytest.raises(ConfigError, match="too short to sign with"):
        folder.secret(settings(tmp_path))


def test_a_secret_that_another_service_makes_is_waited_for_with_advice(tmp_path: Path) -> None:
    (tmp_path / "secret").symlink_to(tmp_path / "web" / "secret")
    with pytest.raises(ConfigError, match=r"a link to .*web/secret, and that file is not there yet\. Start the"):
        folder.secret(settings(tmp_path))
