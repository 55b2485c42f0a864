"""The verifiers on every system's deployment, and on deployments with a mistake planted for each of them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from headgate.config.settings import Settings
from headgate.deploy.folder import write
from headgate.deploy.plan import Plan, make
from headgate.deploy.releases import RELEASES, release
from headgate.deploy.render import render
from headgate.deploy.verify import Check, State, verify
from tests.deploy.policy import allowed, compiled


def plan(system: str) -> Plan:
    settings = Settings(gateways=2, max_body=30 << 20)
    return make("shop:app", "shop.example.com", release(system), settings, secrets=("database",))


def judged(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


@pytest.mark.parametrize("system", RELEASES)
def test_every_verifier_passes(system: str, tmp_path: Path) -> None:
    chosen = plan(system)
    write(render(chosen), tmp_path / "d")
    checks = verify(tmp_path / "d", chosen)
    assert {check.name: check.detail for check in checks if check.state is not State.PASSED} == {}
    assert len(checks) == (10 if release(system).selinux else 8)


MISTAKES = [
    ("etc/systemd/system/shop-web.service", "[Service]", "[Service]\nTypo=1", "systemd-analyze verify"),
    ("etc/systemd/system/shop.socket", "Service=shop-web.service\n", "", "systemd-analyze verify"),
    ("etc/systemd/system/shop-jobs.service", "ProtectSystem=strict\n", "", "systemd-analyze security"),
    ("etc/sysusers.d/shop.conf", "u shop", "x shop", "systemd-sysusers"),
    ("etc/tmpfiles.d/shop.conf", "d /run/shop", "q? /run/shop", "systemd-tmpfiles"),
    ("etc/nginx/conf.d/shop.conf", "proxy_http_version", "proxy_http_versions", "nginx -t"),
    (
        "etc/firewalld/services/shop.xml",
        '"tcp" port="80"',
        '"tcp" port="eighty"',
        "firewall-offline-cmd --check-config",
    ),
    ("etc/logrotate.d/shop", "rotate 8", "rotate many", "logrotate -d"),
    ("../ansible/site.yml", "become: true", "becom: true", "ansible-lint"),
    ("etc/shop/headgate.toml", "gateways = 2", "gatewais = 2", "headgate config"),
]


@pytest.mark.parametrize(("path", "right", "wrong", "verifier"), MISTAKES)
def test_a_planted_mistake_is_found(path: str, right: str, wrong: str, verifier: str, tmp_path: Path) -> None:
    chosen = plan("el9")
    write(render(chosen), tmp_path / "d")
    file = tmp_path / "d" / "root" / path
    text = file.read_text()
    assert right in text
    # Hardening is the sum of many: one missing line alone does not lift a service over the bar
    broken = text.partition("NoNewPrivileges")[0] + "ExecStartPre=/bin/true\n" if "security" in verifier else None
    file.write_text(broken or text.replace(right, wrong, 1))
    (check,) = verify(tmp_path / "d", chosen, verifier)
    assert check.state is State.FAILED, check
    assert check.detail


def test_edited_settings_are_read_and_not_compared_with_the_plan(tmp_path: Path) -> None:
    chosen = plan("el9")
    write(render(chosen), tmp_path / "d")
    file = tmp_path / "d/root/etc/shop/headgate.toml"
    file.write_text(file.read_text().replace("gateways = 2", "gateways = 3"))
    (check,) = verify(tmp_path / "d", chosen, "headgate config")
    assert check.state is State.PASSED
    assert "somebody has edited it" in check.detail


def test_a_mistake_in_the_policy_is_found(tmp_path: Path) -> None:
    chosen = plan("el9")
    write(render(chosen), tmp_path / "d")
    policy = tmp_path / "d/selinux/shop.te"
    policy.write_text(policy.read_text().replace("allow httpd_t shop_t:", "allow httpd_t shopp_t:"))
    (check,) = verify(tmp_path / "d", chosen, "checkmodule, semodule_package")
    assert check.state is State.FAILED


def test_a_verifier_that_is_not_there_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate.deploy.verify._PATH", str(tmp_path))
    chosen = plan("el9")
    write(render(chosen), tmp_path / "d")
    checks = judged(verify(tmp_path / "d", chosen))
    assert checks["nginx -t"].state is State.MISSING
    assert "comes with nginx" in checks["nginx -t"].detail
    assert checks["headgate config"].state is State.PASSED


def test_what_the_policy_allows(tmp_path: Path) -> None:
    """Asked of a compiled policy: nginx reaches the one socket and nothing else, and the service binds no port."""
    write(render(plan("el9")), tmp_path / "d")
    folder = tmp_path / "d" / "selinux"
    subprocess.run(["make", "-s"], cwd=folder, check=True, timeout=60)
    policy = compiled(folder, "shop")
    assert allowed(policy, "httpd_t", "shop_run_t", "sock_file") == {"write"}
    assert allowed(policy, "httpd_t", "shop_t", "unix_stream_socket") == {"connectto"}
    for kind in ("shop_state_t", "shop_app_t", "shop_etc_t"):
        assert allowed(policy, "httpd_t", kind, "file") == set()
    assert {"create", "write", "unlink"} <= allowed(policy, "shop_t", "shop_state_t", "file")
    assert "write" not in allowed(policy, "shop_t", "shop_app_t", "file")
    assert "write" not in allowed(policy, "shop_t", "shop_etc_t", "file")
    assert "execmem" not in allowed(policy, "shop_t", "shop_t", "process")
    assert allowed(policy, "shop_t", "http_port_t", "tcp_socket") == {"name_connect"}


def test_nginx_reads_static_files_of_the_app_and_nothing_else_of_it(tmp_path: Path) -> None:
    folders = {"/static/": "/opt/shop/app/static", "/media/": "/srv/shop/media"}
    chosen = make("shop:app", "shop.example.com", release("el9"), Settings(gateways=2), static=folders)
    write(render(chosen), tmp_path / "d")
    folder = tmp_path / "d" / "selinux"
    subprocess.run(["make", "-s"], cwd=folder, check=True, timeout=60)
    assert "\n/opt/shop/app/static(/.*)?  " in (folder / "shop.fc").read_text()
    assert "/srv/shop" not in (folder / "shop.fc").read_text()
    policy = compiled(folder, "shop")
    for reader in ("httpd_t", "shop_t"):
        assert {"open", "read"} <= allowed(policy, reader, "shop_static_t", "file")
        assert "write" not in allowed(policy, reader, "shop_static_t", "file")
    assert allowed(policy, "httpd_t", "shop_app_t", "dir") == {"search", "getattr"}
    assert allowed(policy, "httpd_t", "shop_app_t", "file") == set()
    readme = (tmp_path / "d/README.md").read_text()
    assert "nginx sends /media/ from /srv/shop/media, as before" in readme
    assert "nginx sends /static/" not in readme


def test_the_backup_copies_a_database_that_is_written_to(tmp_path: Path) -> None:
    write(render(plan("el9")), tmp_path / "d")
    program = tmp_path / "d/root/opt/shop/bin/backup.py"
    data, copies = tmp_path / "data", tmp_path / "copies"
    data.mkdir()
    (data / "secret").write_text("s" * 64)
    with sqlite3.connect(data / "broker.db") as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE job (id INTEGER)")
        database.execute("INSERT INTO job VALUES (1)")
        database.commit()
        database.execute("INSERT INTO job VALUES (2)")  # a writer in the middle of its work
        (copies / "2020-01-04T000000.partial").mkdir(parents=True)  # of a copy that a crash has cut off
        for number in range(3):
            (copies / f"2020-01-0{number + 1}T000000").mkdir(parents=True)
        command = [sys.executable, str(program), str(data), str(copies), "--keep", "2"]
        subprocess.run(command, check=True, timeout=60)
    kept = sorted(path.name for path in copies.iterdir())
    assert len(kept) == 2
    assert kept[0] == "2020-01-03T000000"
    with sqlite3.connect(copies / kept[1] / "broker.db") as copy:
        assert copy.execute("SELECT id FROM job").fetchall() == [(1,)]
    assert (copies / kept[1] / "secret").read_text() == "s" * 64
