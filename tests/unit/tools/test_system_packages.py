"""tools/system-packages against stand-ins for the package managers: what it installs, what it says, what it leaves."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[3] / "tools" / "system-packages"
TABLE = [line.split() for line in subprocess.check_output([SCRIPT, "list"], text=True).splitlines()]
"""Group, program, Debian's package, RHEL's, presence."""
PROGRAMS = [row[1] for row in TABLE]


def stand_in(path: Path, code: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{code}\n")
    path.chmod(0o755)


def run(folder: Path, group: str, *, root: bool = True) -> subprocess.CompletedProcess[str]:
    """The script where only `folder/bin` counts as installed, and `folder/tools` has the machine's own commands."""
    stand_in(folder / "tools" / "id", "echo 0" if root else "echo 1000")
    (folder / "bin").mkdir(exist_ok=True)
    path = f"{folder / 'tools'}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "SYSTEM_PACKAGES_PATH": str(folder / "bin")}
    env["SYSTEM_PACKAGES_POLICY"] = str(folder / "policy")
    return subprocess.run([SCRIPT, group], env=env, capture_output=True, text=True, timeout=30, check=False)


def test_it_does_nothing_when_all_is_there(workdir: Path) -> None:
    for name in PROGRAMS:
        stand_in(workdir / "bin" / name, "true")
    stand_in(workdir / "tools" / "apt-get", f"echo called >> {workdir}/apt")
    done = run(workdir, "bench")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (workdir / "apt").exists()


def test_it_installs_what_is_missing_and_only_that(workdir: Path) -> None:
    there = {"postgres", "systemd-analyze", "openssl", "node"}
    for name in there:
        stand_in(workdir / "bin" / name, "true")
    made = f"for p in {' '.join(PROGRAMS)}; do install -m 755 /bin/true {workdir}/bin/$p; done"
    stand_in(workdir / "tools" / "apt-get", f'echo "$@" >> {workdir}/apt\n{made}')
    done = run(workdir, "test")
    assert done.returncode == 0, done.stderr
    calls = (workdir / "apt").read_text().splitlines()
    assert calls == [
        "update -q",
        "install -q -y --no-install-recommends "
        + " ".join(row[2] for row in TABLE if row[0] == "test" and row[1] not in there),
    ]


def test_no_service_is_started_and_no_policy_left_behind(workdir: Path) -> None:
    made = f"for p in {' '.join(PROGRAMS)}; do install -m 755 /bin/true {workdir}/bin/$p; done"
    stand_in(workdir / "tools" / "apt-get", f"{workdir}/policy; echo $? >> {workdir}/said\n{made}")
    assert run(workdir, "test").returncode == 0
    assert set((workdir / "said").read_text().split()) == {"101"}  # invoke-rc.d's "not allowed"
    assert not (workdir / "policy").exists()


def test_the_machines_own_policy_is_left_alone(workdir: Path) -> None:
    made = f"for p in {' '.join(PROGRAMS)}; do install -m 755 /bin/true {workdir}/bin/$p; done"
    stand_in(workdir / "tools" / "apt-get", made)
    stand_in(workdir / "policy", "exit 104")
    assert run(workdir, "test").returncode == 0
    assert "exit 104" in (workdir / "policy").read_text()


def test_without_root_it_names_the_command(workdir: Path) -> None:
    stand_in(workdir / "tools" / "apt-get", f"echo called >> {workdir}/apt")
    done = run(workdir, "test", root=False)
    assert done.returncode == 3
    wanted = "sudo apt-get install --no-install-recommends redis-server postgresql nginx-light chromium mariadb-server"
    assert wanted in done.stderr
    assert not (workdir / "apt").exists()


def test_a_package_that_does_not_bring_its_program_is_an_error(workdir: Path) -> None:
    stand_in(workdir / "tools" / "apt-get", "true")
    done = run(workdir, "test")
    assert done.returncode == 4
    assert "redis-server is still not found" in done.stderr
