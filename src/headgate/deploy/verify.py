"""Lets the programs that will read the files judge them: in a copy with stand-ins, never on the running system."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from headgate.deploy.folder import edited
from headgate.deploy.plan import Plan
from headgate.deploy.render import module_of

EXPOSURE: Final = 2.0
"""systemd-analyze security: the greatest exposure that a service of ours may have, of 10."""
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OWN: Final = str(Path(sys.executable).parent)
"""Where ansible-lint is when it was installed beside Headgate."""
_SYSTEM_UNITS: Final = Path("/usr/lib/systemd/system")
_SECONDS: Final = 120


class State(StrEnum):
    """What became of a check."""

    PASSED = "passed"
    FAILED = "failed"
    MISSING = "missing"
    """The program is not on this machine."""


@dataclass(frozen=True)
class Check:
    """One program's judgement."""

    name: str
    state: State
    detail: str = ""


class Refused(Exception):
    """A verifier's objection."""


def verify(folder: Path, plan: Plan, only: str | None = None) -> list[Check]:
    """Run every verifier that this machine has on a rendered deployment.

    Args:
        folder: where it was written.
        plan: what it was made from.
        only: the name of the one verifier to run; default all.

    Returns:
        one check for each verifier, in a fixed order; MISSING names the package that would bring it.
    """
    with tempfile.TemporaryDirectory(prefix="headgate-verify-") as made:
        copy = Path(made)
        shutil.copytree(folder, copy / "deployment")
        root = copy / "deployment" / "root"
        _stand_ins(root, plan)
        return [
            _judge(name, program, package, check, root, plan)
            for name, program, package, check in _checks(plan)
            if only in (None, name)
        ]


Judge = Callable[[Path, Plan], str]


def _checks(plan: Plan) -> Iterator[tuple[str, str, str, Judge]]:
    yield "systemd-analyze verify", "systemd-analyze", "systemd", _units
    yield "systemd-analyze security", "systemd-analyze", "systemd", _exposure
    yield "systemd-sysusers", "systemd-sysusers", "systemd", _users
    yield "systemd-tmpfiles", "systemd-tmpfiles", "systemd", _folders
    yield "nginx -t", "nginx", "nginx", _nginx
    if plan.release.selinux:
        yield "checkmodule, semodule_package", "checkmodule", "checkpolicy, semodule-utils (policycoreutils)", _policy
    if plan.release.firewalld:
        yield "firewall-offline-cmd --check-config", "firewall-offline-cmd", "firewalld", _firewall
    yield "logrotate -d", "logrotate", "logrotate", _logs
    yield "ansible-lint", "ansible-lint", "pip install ansible-lint", _role
    yield "headgate config", "headgate", "headgate", _settings


def _judge(name: str, program: str, package: str, check: Judge, root: Path, plan: Plan) -> Check:
    if program != "headgate" and shutil.which(program, path=f"{_PATH}:{_OWN}") is None:
        return Check(name, State.MISSING, f"{program} is not on this machine; it comes with {package}")
    try:
        return Check(name, State.PASSED, check(root, plan))
    except Refused as objection:
        return Check(name, State.FAILED, str(objection))


def _stand_ins(root: Path, plan: Plan) -> None:
    """What the system has in the real place: executables, the units of systemd itself, user tables."""
    for name in ("headgate", "python"):
        program = root / str(plan.home).lstrip("/") / "venv/bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    (root / str(plan.home).lstrip("/") / "app").mkdir()
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    units = root / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    for pattern in ("*.target", "*.slice"):
        for unit in _SYSTEM_UNITS.glob(pattern):
            shutil.copy(unit, units / unit.name, follow_symlinks=True)


def _run(*command: str, cwd: Path | None = None, more: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program with the system's path alone, and `more` before it."""
    path = f"{more}:{_PATH}" if more else _PATH
    env = {"PATH": path, "LC_ALL": "C.UTF-8", "HOME": str(cwd or "/nonexistent")}
    try:
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=_SECONDS, check=False, env=env)
    except subprocess.TimeoutExpired:
        raise Refused(f"{command[0]} gave no answer within {_SECONDS} s") from None


def _must(*command: str, cwd: Path | None = None, more: str = "") -> str:
    done = _run(*command, cwd=cwd, more=more)
    text = (done.stdout + done.stderr).strip()
    if done.returncode != 0:
        raise Refused(text or f"{command[0]} ended with {done.returncode}")
    return text


def _services(plan: Plan) -> list[str]:
    return [f"{plan.name}-{each}.service" for each in ("web", "jobs", *(["backup"] if plan.own_broker else []))]


def _units(root: Path, plan: Plan) -> str:
    more = [f"{plan.name}-backup.timer"] if plan.own_broker else []
    units = [f"{plan.name}.socket", *_services(plan), *more]
    done = _run("systemd-analyze", "verify", f"--root={root}", *units)
    here = _systemd()
    told = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    newer = [
        line for line in told if here < plan.release.systemd and ("notify-reload" in line or "Unknown key" in line)
    ]
    wrong = [line.replace(str(root), "") for line in told if line not in newer]
    if wrong or (done.returncode != 0 and not newer):
        raise Refused("\n".join(wrong) or f"systemd-analyze ended with {done.returncode}")
    if newer:
        return f"{len(units)} units; Type=notify-reload is not known to this machine's systemd {here}"
    return f"{len(units)} units"


def _systemd() -> int:
    found = re.search(r"systemd (\d+)", _must("systemd-analyze", "--version"))
    return int(found.group(1)) if found else 0


def _exposure(root: Path, plan: Plan) -> str:
    told = []
    for service in _services(plan):
        text = _run("systemd-analyze", "security", "--offline=true", f"--root={root}", "--no-pager", service).stdout
        found = re.search(r"Overall exposure level for \S+: ([\d.]+)", text)
        if found is None:
            raise Refused(f"systemd-analyze security says nothing of {service}")
        if float(found.group(1)) > EXPOSURE:
            raise Refused(f"{service} has an exposure of {found.group(1)}, above {EXPOSURE}")
        told.append(f"{service.removesuffix('.service')} {found.group(1)}")
    return "exposure " + ", ".join(told)


def _users(root: Path, plan: Plan) -> str:
    _must("systemd-sysusers", f"--root={root}")
    if f"{plan.name}:" not in (root / "etc/passwd").read_text():
        raise Refused(f"the user {plan.name} was not made")
    return f"the user {plan.name}"


def _folders(root: Path, plan: Plan) -> str:
    _must("systemd-tmpfiles", f"--root={root}", "--create")
    wanted = [plan.state, plan.jobs_state, plan.socket.parent]
    missing = [str(each) for each in wanted if not (root / str(each).lstrip("/")).is_dir()]
    if missing:
        raise Refused(f"not made: {', '.join(missing)}")
    return ", ".join(map(str, wanted))


def nginx_configuration(root: Path, plan: Plan, http: int, https: int) -> Path:
    """A whole nginx configuration around the rendered one, that runs anywhere: other ports, certificates and paths.

    Args:
        root: the rendered `root/`, or a copy.
        plan: the plan.
        http, https: free ports of the loopback address.

    Returns:
        its path, in a new folder `nginx` beside.
    """
    home = root.parent / "nginx"
    home.mkdir(exist_ok=True)
    key, certificate = home / "t.key", home / "t.crt"
    name = f"/CN={plan.domain}"
    made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    _must("openssl", *made, "-subj", name, "-keyout", str(key), "-out", str(certificate))
    text = (root / f"etc/nginx/conf.d/{plan.name}.conf").read_text()
    text = re.sub(r"listen \[::\]:\S+.*\n", "", text)
    text = text.replace("listen 80;", f"listen 127.0.0.1:{http};")
    text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{https} ssl")
    text = re.sub(r"ssl_certificate .*;", f"ssl_certificate {certificate};", text)
    text = re.sub(r"ssl_certificate_key .*;", f"ssl_certificate_key {key};", text)
    if not Path("/etc/crypto-policies").is_dir():
        text = text.replace("ssl_ciphers PROFILE=SYSTEM;", "ssl_ciphers HIGH;")
    if plan.release.nginx >= (1, 25) and _nginx_version() < (1, 25, 1):
        text = text.replace("    http2 on;\n", "")
    text = text.replace(str(plan.socket), str(home / "http.sock"))
    (home / "site.conf").write_text(text)
    folders = "".join(
        f"{kind}_temp_path {home}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = home / "nginx.conf"
    main.write_text(
        f"daemon off;\npid {home}/nginx.pid;\nerror_log {home}/error.log notice;\nworker_processes 2;\n"
        f"events {{ worker_connections 1024; }}\nhttp {{\naccess_log off;\n{folders}include {home}/site.conf;\n}}\n"
    )
    return main


def _nginx_version() -> tuple[int, ...]:
    found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", _must("nginx", "-v"))
    return tuple(map(int, found.groups())) if found else (0, 0, 0)


def _nginx(root: Path, plan: Plan) -> str:
    import socket

    free = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            free.append(probe.getsockname()[1])
    main = nginx_configuration(root, plan, free[0], free[1])
    _must("nginx", "-t", "-c", str(main), "-e", str(main.parent / "error.log"))
    return "with a certificate and ports of its own"


def _policy(root: Path, plan: Plan) -> str:
    _must("make", "-s", cwd=root.parent / "selinux")
    module = f"{module_of(plan)}.pp"
    if not (root.parent / "selinux" / module).stat().st_size:
        raise Refused(f"{module} is empty")
    return module


def _firewall(root: Path, plan: Plan) -> str:
    (root / "etc/firewalld/firewalld.conf").write_text("DefaultZone=public\n")
    told = _must("firewall-offline-cmd", "--system-config", str(root / "etc/firewalld"), "--check-config")
    if "ERROR" in told or "INVALID" in told:
        raise Refused(told)
    return f"the service {plan.name}"


def _logs(root: Path, plan: Plan) -> str:
    rules = root / "etc/logrotate.d" / plan.name
    rules.chmod(0o644)
    told = _must("logrotate", "-d", "-s", str(root / "logrotate.state"), str(rules))
    if "error:" in told:
        raise Refused(told)
    return "weekly"


def _role(root: Path, plan: Plan) -> str:
    lint = shutil.which("ansible-lint", path=f"{_PATH}:{_OWN}") or "ansible-lint"
    _must(lint, "--offline", "--nocolor", "-q", "--profile", "production", cwd=root.parent / "ansible", more=_OWN)
    return "profile production"


def _settings(root: Path, plan: Plan) -> str:
    """Headgate reads its own settings as they were meant."""
    from headgate.base.errors import ConfigError
    from headgate.config.load import ELSEWHERE, load

    path = root / str(plan.etc).lstrip("/") / "headgate.toml"
    try:
        found = load(folder=root, environ={ELSEWHERE: str(path)}).settings
    except ConfigError as exc:
        raise Refused(str(exc)) from exc
    if edited(root.parent, f"root{plan.etc}/headgate.toml"):
        return "it can be read; somebody has edited it, so that it is not compared with the plan"
    for key in ("app", "gateways", "workers", "threads", "max_body", "stop_timeout", "ping_interval"):
        wanted = plan.app if key == "app" else getattr(plan.settings, key)
        if getattr(found, key) != wanted:
            raise Refused(f"{key} is {getattr(found, key)!r} in the file, and {wanted!r} in the plan")
    return "read back as planned"
