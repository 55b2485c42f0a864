"""The walls hold in the source (import-linter) and in the running interpreter (`sys.modules`)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

OPTIONAL = {
    "flask",
    "werkzeug",
    "flask_sock",
    "redis",
    "rq",
    "celery",
    "psycopg",
    "pymysql",
    "MySQLdb",
    "sqlalchemy",
    "prometheus_client",
    "opentelemetry",
    "hdrh",
    "httpx",
    "jinja2",
    "engineio",
    "socketio",
}
"""Packages of the extras: whoever did not install them can still `import headgate`."""

PARENT = {
    f"headgate.supervisor.{part}" for part in ("crew", "loop", "members", "spawn", "sequence", "reloader", "control")
}
"""What only the supervisor's own process needs; `supervisor.child` is each role's end of it."""

COMPANION = {"headgate.gateway", "headgate.apps", "headgate.jobs", "headgate.declare", *PARENT, "flask"}
FORBIDDEN = {
    "headgate.roles.gateway": {
        "headgate.jobs",
        "headgate.apps",
        "headgate.declare",
        "headgate.bulk",
        *PARENT,
        "headgate.cli",
        "flask",
        "werkzeug",
        "flask_sock",
    },
    "headgate.roles.jobs": {
        "headgate.gateway",
        *PARENT,
        "headgate.cli",
        "uvicorn",
        "httptools",
    },
    "headgate.roles.app": {
        "headgate.gateway",
        *PARENT,
        "headgate.cli",
        "uvicorn",
        "httptools",
    },
    "headgate.roles.rq": {*COMPANION, "rq"},
    "headgate.roles.celery": {*COMPANION, "celery"},
    "headgate.roles.broker": {
        "headgate.gateway",
        "headgate.apps",
        "headgate.jobs",
        "headgate.declare",
        *PARENT,
        "headgate.cli",
        "uvicorn",
        "flask",
        "werkzeug",
    },
}
"""What a process of each role never loads: a wall that holds only in the source is no wall."""


def loaded_by(module: str) -> set[str]:
    """The modules in `sys.modules` of a fresh interpreter that imported `module`."""
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"import {module} failed:\n{done.stderr}"
    return set(json.loads(done.stdout))


def trespassers(loaded: set[str], forbidden: set[str]) -> set[str]:
    """The loaded modules that are, or are within, a forbidden one."""
    return {name for name in loaded if any(name == bad or name.startswith(bad + ".") for bad in forbidden)}


def test_trespassers_are_found_by_package_and_not_by_prefix() -> None:
    assert trespassers({"flask", "flask.json", "flask_cors", "os"}, {"flask"}) == {"flask", "flask.json"}


def test_import_linter_finds_no_broken_contract() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("role", sorted(FORBIDDEN))
def test_role_loads_nothing_behind_its_wall(role: str) -> None:
    assert trespassers(loaded_by(role), FORBIDDEN[role]) == set()


@pytest.mark.parametrize("module", ["headgate", "headgate.cli.main", "headgate.config.settings"])
def test_import_needs_no_optional_dependency(module: str) -> None:
    assert trespassers(loaded_by(module), OPTIONAL) == set()


def test_no_folder_is_a_junk_drawer() -> None:
    junk = {"utils", "common", "helpers", "util", "misc"}
    found = [path for path in (ROOT / "src").rglob("*") if path.stem in junk]
    assert found == []
