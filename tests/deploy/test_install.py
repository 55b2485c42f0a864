"""Installing below a folder: planned first, idempotent, careful with what somebody has changed, and taken back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from headgate.base.errors import ConfigError
from headgate.config.settings import Settings
from headgate.deploy.install import Action, Step, carry_out, steps, uninstall, write
from headgate.deploy.plan import make
from headgate.deploy.releases import release
from headgate.deploy.render import File, render

UNIT = "etc/systemd/system/shop-web.service"


def files(**settings: int) -> list[File]:
    return render(make("shop:app", "shop.example.com", release("el9"), Settings(gateways=1, **settings)))  # type: ignore[arg-type]


def actions(planned: list[Step]) -> Counter[Action]:
    return Counter(step.action for step in planned)


def there(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_install_again_change_and_take_back(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/fstab").write_text("mine\n")
    planned = steps(files(), "shop", tmp_path)
    assert set(actions(planned)) == {Action.CREATE}
    assert there(tmp_path) == {"etc/fstab"}, "a plan changes nothing"
    carry_out(planned, "shop", tmp_path)
    assert UNIT in there(tmp_path)
    assert os.access(tmp_path / "opt/shop/bin/backup.py", os.X_OK)
    assert set(actions(steps(files(), "shop", tmp_path))) == {Action.KEEP}

    again = steps(files(max_connections=500), "shop", tmp_path)
    assert actions(again)[Action.REPLACE] >= 2
    carry_out(again, "shop", tmp_path)
    assert "LimitNOFILE=5096" in (tmp_path / UNIT).read_text()

    carry_out(uninstall("shop", tmp_path), "shop", tmp_path)
    assert there(tmp_path) == {"etc/fstab"}
    with pytest.raises(ConfigError, match="No deployment named shop was installed"):
        uninstall("shop", tmp_path)


def test_what_somebody_has_changed_is_spared_without_force(tmp_path: Path) -> None:
    carry_out(steps(files(), "shop", tmp_path), "shop", tmp_path)
    unit = tmp_path / UNIT
    unit.write_text(unit.read_text() + "Environment=MINE=1\n")
    planned = steps(files(max_connections=500), "shop", tmp_path)
    assert [step.path for step in planned if step.action is Action.SPARE] == [unit]
    carry_out(planned, "shop", tmp_path)
    assert "MINE=1" in unit.read_text()
    carry_out(uninstall("shop", tmp_path), "shop", tmp_path)
    assert there(tmp_path) == {UNIT, "var/lib/headgate-deploy/shop.json"}
    carry_out(uninstall("shop", tmp_path, force=True), "shop", tmp_path)
    assert there(tmp_path) == set()


def test_a_file_that_is_not_ours_is_spared(tmp_path: Path) -> None:
    unit = tmp_path / UNIT
    unit.parent.mkdir(parents=True)
    unit.write_text("somebody else's\n")
    carry_out(steps(files(), "shop", tmp_path), "shop", tmp_path)
    assert unit.read_text() == "somebody else's\n"
    carry_out(uninstall("shop", tmp_path), "shop", tmp_path)
    assert there(tmp_path) == {UNIT}


def test_a_file_that_a_new_version_has_no_more_is_removed(tmp_path: Path) -> None:
    carry_out(steps(files(), "shop", tmp_path), "shop", tmp_path)
    fewer = [file for file in files() if "backup" not in str(file.path)]
    planned = steps(fewer, "shop", tmp_path)
    assert actions(planned)[Action.REMOVE] == 3
    carry_out(planned, "shop", tmp_path)
    assert not [path for path in there(tmp_path) if "backup" in path]


def test_a_folder_that_is_not_ours_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty, and no deployment of ours"):
        write(files(), tmp_path)
    assert there(tmp_path) == {"notes.txt"}
    write(files(), tmp_path / "new")
    write(files(), tmp_path / "new")  # again is no trouble


def command(*arguments: str, cwd: Path, answer: str = "") -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "headgate", "deploy", *arguments]
    return subprocess.run(line, cwd=cwd, input=answer, capture_output=True, text=True, timeout=60, check=False)


def test_the_command(tmp_path: Path) -> None:
    root = tmp_path / "system"
    root.mkdir()
    given = ("rhel", "shop:app", "--domain", "shop.example.com", "--root", str(root))
    refused = command(*given, cwd=tmp_path, answer="n\n")
    assert refused.returncode == 1
    assert "create" in refused.stdout
    assert there(root) == set()
    assert (tmp_path / "deploy-el9/README.md").exists()
    assert command(*given, cwd=tmp_path, answer="y\n").returncode == 0
    assert UNIT in there(root)
    back = command("rhel", "--uninstall", "--name", "shop", "--root", str(root), "--yes", cwd=tmp_path)
    assert back.returncode == 0, back.stderr
    assert there(root) == set()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("rhel",), "Write headgate deploy SYSTEM APP --domain NAME"),
        (("rhel", "shop:app", "--domain", "a.example", "--env", "A"), "write it as NAME=VALUE"),
        (("el7", "shop:app", "--domain", "a.example"), "no system 'el7'"),
        (("rhel", "--uninstall"), "--uninstall --name NAME --root /"),
    ],
)
def test_what_is_missing_is_told(arguments: tuple[str, ...], told: str, tmp_path: Path) -> None:
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr
