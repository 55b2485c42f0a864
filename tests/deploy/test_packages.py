"""The deployment as an RPM that is built and looked into, and as an Ansible role."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from headgate.config.settings import Settings
from headgate.deploy.folder import write
from headgate.deploy.plan import Plan, make
from headgate.deploy.releases import Release, release
from headgate.deploy.render import render


def plan(system: str) -> Plan:
    # The test builds with this machine's own interpreter.
    chosen = release(system)
    fields = {name: getattr(chosen, name) for name in Release.__dataclass_fields__}
    here = Release(**{**fields, "python": "python3"})
    return make("shop:app", "shop.example.com", here, Settings(gateways=1))


def wheel(folder: Path, said: str = "served") -> None:
    """A distribution named headgate with a script: what the real one brings to an environment, without its weight."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "headgate-1.0-py3-none-any.whl", "w") as made:
        made.writestr("headgate_stand_in.py", f"def main():\n    print({said!r})\n")
        info = "headgate-1.0.dist-info"
        made.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: headgate\nVersion: 1.0\n")
        made.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr(f"{info}/entry_points.txt", "[console_scripts]\nheadgate = headgate_stand_in:main\n")
        made.writestr(f"{info}/RECORD", "")


def test_the_rpm_builds_and_has_what_it_should(tmp_path: Path) -> None:
    write(render(plan("el9")), tmp_path / "d")
    app = tmp_path / "app"
    app.mkdir()
    (app / "shop.py").write_text("app = None\n")
    (app / "requirements.txt").write_text("headgate\n")
    for left_out in (".headgate", "venv", "deploy-el9"):
        (app / left_out).mkdir()
        (app / left_out / "secret").write_text("s" * 64)
    (app / "static/venv").mkdir(parents=True)
    wheel(tmp_path / "wheels")
    (tmp_path / "d/root/etc/shop/headgate.toml.new").write_text("")  # beside an edited one
    build = [str(tmp_path / "d/rpm/build.sh"), str(app), str(tmp_path / "wheels"), "2.5"]
    done = subprocess.run(build, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    (package,) = (tmp_path / "d/rpm/RPMS").iterdir()

    def asked(*question: str) -> str:
        return subprocess.run(
            ["rpm", "-qp", *question, str(package)], capture_output=True, text=True, check=True
        ).stdout

    listed = set(asked("--list").split())
    for path in (
        "/opt/shop/app/shop.py",
        "/opt/shop/venv/bin/headgate",
        "/usr/lib/systemd/system/shop-web.service",
        "/etc/nginx/conf.d/shop.conf",
        "/usr/share/selinux/packages/shop.pp",
    ):
        assert path in listed
    assert not [path for path in listed if path.startswith(str(tmp_path))]
    assert "/opt/shop/app/static/venv" in listed
    assert not [path for path in listed if path.endswith("/secret")], "what is left out of the app came along"
    assert "/etc/shop/headgate.toml" in asked("--configfiles").split()
    assert "2.5" in asked("--info")
    scripts = asked("--scripts")
    assert "%{" not in scripts, "a macro that this machine does not know was left in a scriptlet"
    for section in ("preinstall", "postinstall", "preuninstall", "postuninstall"):
        assert f"{section} scriptlet" in scripts
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    archive = subprocess.check_output(["rpm2cpio", str(package)], timeout=60)
    subprocess.run(["cpio", "-idm", "--quiet"], input=archive, cwd=unpacked, check=True, timeout=60)
    first = (unpacked / "opt/shop/venv/bin/headgate").read_text().splitlines()[0]
    assert re.fullmatch(r"#!/opt/shop/venv/bin/python3(\.\d+)?", first), "the script names the build's folder"


def test_scriptlets_are_sound_shell(tmp_path: Path) -> None:
    write(render(plan("el9")), tmp_path / "d")
    spec = (tmp_path / "d/rpm/shop.spec").read_text()
    for name in ("pre", "post", "preun", "postun"):
        body = spec.split(f"\n%{name}\n", 1)[1].split("\n%", 1)[0]
        subprocess.run(["sh", "-n"], input=body, text=True, check=True, timeout=10)
    subprocess.run(["sh", "-n", str(tmp_path / "d/rpm/build.sh")], check=True, timeout=10)


@pytest.mark.parametrize("broker", ["embedded", "redis://queue:6379/0"])
def test_scriptlets_know_every_unit_that_is_enabled(broker: str) -> None:
    chosen = make("shop:app", "shop.example.com", release("el9"), Settings(gateways=1, broker=broker))
    files = {str(file.path): file for file in render(chosen)}
    installable = {path for path, file in files.items() if "/systemd/system/" in path and "[Install]" in file.text}
    lines = files["rpm/shop.spec"].text.splitlines()
    for verb in ("preset", "disable --now"):
        (line,) = (line for line in lines if f"systemctl --no-reload {verb} " in line)
        units = line.split(f"{verb} ")[1].split(" >")[0].split()
        assert set(units) == {path.rpartition("/")[2] for path in installable}, verb


def test_the_role_lets_the_service_through_the_firewall() -> None:
    def tasks(system: str) -> list[dict[str, Any]]:
        chosen = make("shop:app", "shop.example.com", release(system), Settings(gateways=1))
        files = {str(file.path): file for file in render(chosen)}
        return list(yaml.safe_load(files["ansible/roles/shop/tasks/main.yml"].text))

    found = tasks("el9")
    asked = next(task for task in found if task.get("register") == "shop_firewalld")
    assert asked["failed_when"] is False, "a machine without firewalld is no failure"
    block = next(task for task in found if "block" in task)
    assert block["when"] == ["shop_firewalld.rc == 0", "shop_let_in.rc != 0"]
    commands = [each["ansible.builtin.command"] for each in block["block"]]
    assert commands == ["firewall-cmd --reload", "firewall-cmd --permanent --add-service=shop", "firewall-cmd --reload"]
    files_first = next(at for at, task in enumerate(found) if "files into their places" in task["name"])
    assert files_first < found.index(asked) < found.index(block)
    assert not [task for task in tasks("debian12") if "firewall" in str(task)]


def test_the_role_needs_nothing_that_was_not_generated() -> None:
    """It builds the policy where it is loaded."""
    files = {str(file.path): file for file in render(plan("el9"))}
    tasks = yaml.safe_load(files["ansible/roles/shop/tasks/main.yml"].text)
    commands = [task.get("ansible.builtin.command") for task in tasks]
    assert commands.index("make -s -C /opt/shop/selinux") < commands.index("semodule -i /opt/shop/selinux/shop.pp")
    packages = yaml.safe_load(files["ansible/roles/shop/defaults/main.yml"].text)["shop_packages"]
    assert {"make", "checkpolicy", "policycoreutils", "openssl"} <= set(packages)


def played(folder: Path, *said: str) -> subprocess.CompletedProcess[str]:
    """The role's tasks on the wheel and the app's folder, run here as they stand, but for the folder and the owner."""
    (text,) = (file.text for file in render(plan("el9")) if file.path.name == "main.yml" and "tasks" in file.path.parts)
    names = (
        "Look whether Headgate's wheel is given",
        "Look whether the app's folder has nothing but the app",
        "Copy Headgate's wheel",
        "Install Headgate",
    )
    tasks = [task for task in yaml.safe_load(text.replace("/opt/shop", f"{folder}/opt")) if task["name"] in names]
    assert [task["name"] for task in tasks] == list(names)
    for task in tasks:
        task.pop("notify", None)
        for key in ("owner", "group"):
            task.get("ansible.builtin.copy", {}).pop(key, None)
    defaults = {"shop_headgate": "", "shop_app": str(folder / "app")}
    (folder / "site.yml").write_text(
        yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "vars": defaults, "tasks": tasks}])
    )
    own = Path(sys.executable).parent
    command = [str(own / "ansible-playbook"), "-i", "localhost,", "-c", "local", "site.yml", *said]
    env = {"PATH": f"{own}:{os.environ['PATH']}", "HOME": str(folder), "LC_ALL": "C.UTF-8", "PIP_NO_INDEX": "1"}
    env |= {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_PYTHON_INTERPRETER": sys.executable}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=110, check=False)


def test_the_role_says_where_headgates_wheel_comes_from(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels")
    for said in ((), ("-e", "shop_headgate=wheels"), ("-e", "shop_headgate=wheels/headgate-2.0-py3-none-any.whl")):
        told = played(tmp_path, *said)
        assert told.returncode == 2, told.stdout + told.stderr
        assert "pip wheel --no-deps HEADGATE" in " ".join(told.stdout.split())
        assert "-e shop_headgate=/path/to/headgate-VERSION-py3-none-any.whl" in " ".join(told.stdout.split())
    assert not (tmp_path / "opt").exists()


def test_the_role_installs_headgates_wheel_and_another_one_of_its_version(tmp_path: Path) -> None:
    """By its path: an index may have something else of that name."""
    given = ("-e", "shop_headgate=wheels/headgate-1.0-py3-none-any.whl")
    for said, changed in (("served", 2), ("served", 0), ("served anew", 2)):
        if changed:
            wheel(tmp_path / "wheels", said)
        told = played(tmp_path, *given)
        assert told.returncode == 0, told.stdout + told.stderr
        assert f"changed={changed} " in told.stdout
        done = subprocess.run([tmp_path / "opt/venv/bin/headgate"], capture_output=True, text=True, check=True)
        assert done.stdout == f"{said}\n"
    (tmp_path / "app/.headgate").mkdir(parents=True)
    told = played(tmp_path, *given)
    assert told.returncode == 2
    assert "Give a folder without them" in " ".join(told.stdout.split())


@pytest.mark.parametrize(("broker", "extras"), [("embedded", "[flask]"), ("redis://queue:6379/0", "[flask,redis]")])
def test_role_rpm_and_readme_install_the_same(broker: str, extras: str) -> None:
    chosen = make("shop:app", "shop.example.com", release("el9"), Settings(gateways=1, broker=broker))
    files = {str(file.path): file.text for file in render(chosen)}
    assert f"bin/pip install 'HEADGATE{extras}' -r" in files["README.md"]
    assert f"'HEADGATE{extras}' -r" in files["rpm/build.sh"]
    assert f"--no-index --find-links wheels --no-compile 'headgate{extras}' -r" in files["rpm/shop.spec"]
    assert f"| basename }}}}{extras}" in files["ansible/roles/shop/tasks/main.yml"]


def test_the_rpm_is_not_begun_without_headgates_wheel(tmp_path: Path) -> None:
    write(render(plan("el9")), tmp_path / "d")
    (tmp_path / "app").mkdir()
    (tmp_path / "wheels").mkdir()
    (tmp_path / "bare").mkdir()
    (tmp_path / "app/requirements.txt").write_text("")
    for said, told in (
        ([], "Two folders are needed:"),
        (["bare", "wheels"], "bare has no requirements.txt:"),
        (["app", "wheels"], "wheels has no wheel of Headgate:"),
    ):
        build = [str(tmp_path / "d/rpm/build.sh"), *said]
        done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr.splitlines()[0]) == (2, told)
        assert "-m pip wheel -w WHEELS-FOLDER 'HEADGATE[flask]' -r APP-FOLDER/requirements.txt" in done.stderr
        assert "set -eu" not in done.stderr
    assert not (tmp_path / "d/rpm/RPMS").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_rpmlint_finds_no_error(tmp_path: Path) -> None:
    write(render(plan("el9")), tmp_path / "d")
    done = subprocess.run(
        ["rpmlint", str(tmp_path / "d/rpm/shop.spec")], capture_output=True, text=True, timeout=60, check=False
    )
    errors = [line for line in done.stdout.splitlines() if ": E: " in line]
    assert errors == [], done.stdout


@pytest.mark.parametrize("system", ["el8", "el9", "el10", "debian12"])
def test_the_role_copies_every_file_and_names_handlers_that_are_there(system: str, tmp_path: Path) -> None:
    chosen = plan(system)
    files = render(chosen)
    write(files, tmp_path / "d")
    role = tmp_path / "d/ansible/roles/shop"
    tasks = yaml.safe_load((role / "tasks/main.yml").read_text())
    handlers = {each["name"] for each in yaml.safe_load((role / "handlers/main.yml").read_text())}
    named = [task.get("notify", []) for task in tasks]
    notified = {name for each in named for name in ([each] if isinstance(each, str) else each)}
    assert notified <= handlers
    copied = set(next(task["loop"] for task in tasks if "files into their places" in task["name"]))
    assert copied == {str(file.target).lstrip("/") for file in files if file.target is not None}
    assert all((tmp_path / "d/root" / path).is_file() for path in copied)
    assert yaml.safe_load((tmp_path / "d/ansible/site.yml").read_text())[0]["roles"] == [{"role": "shop"}]
