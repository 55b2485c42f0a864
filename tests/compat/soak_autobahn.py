"""Autobahn's fuzzing client (PyPI autobahntestsuite 0.8.2) against Headgate: all of its cases, none failed.

Native sockets and flask-sock loops, permessage-deflate on. The suite is written for Python 2.7, which has to be on the
machine; everything else is set up in .tools/autobahn. `tests/process/test_gateway_cases.py` has the part of the
cases that `make test` runs, in Python 3.

    AUTOBAHN_PYTHON  the interpreter (default: python2.7 of PATH, or of pyenv)
    AUTOBAHN_CASES   which cases, as "1.*,7.*" (default: all, most of an hour on two cores: 12 and 13 take long)
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from tests.support.headgate import Headgate
from tests.support.wait import until

HERE = Path(__file__).parent
TOOLS = HERE.parents[1] / ".tools" / "autobahn"
PASSED = {"OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED"}
PATHS = ("native", "loop")


def runs(path: str) -> bool:
    """Whether it is there and begins: pyenv's stand-in for a version that is not chosen does not."""
    if not os.access(path, os.X_OK):
        return False
    return subprocess.run([path, "-c", ""], check=False, capture_output=True).returncode == 0


def interpreter() -> str:
    """A Python 2.7."""
    known = [os.environ.get("AUTOBAHN_PYTHON"), shutil.which("python2.7")]
    known += [str(path) for path in sorted(Path.home().glob(".pyenv/versions/2.7*/bin/python2.7"))]
    found = next((path for path in known if path and runs(path)), None)
    if found is None:
        pytest.fail(
            "Autobahn's test suite needs Python 2.7, and none is on this machine. Install one (`pyenv install 2.7.18`) "
            "or name it in AUTOBAHN_PYTHON. The cases in tests/process/test_gateway_cases.py need none.",
            pytrace=False,
        )
    return found


def suite() -> Path:
    """The `wstest` program, in an environment of its own."""
    program = TOOLS / "env" / "bin" / "wstest"
    if not program.exists():
        shutil.rmtree(TOOLS, ignore_errors=True)
        venv.create(TOOLS / "maker", with_pip=True)
        maker = TOOLS / "maker" / "bin"
        for command in (
            [maker / "python", "-m", "pip", "install", "-q", "virtualenv<20.22"],  # the last that knows Python 2.7
            [maker / "virtualenv", "-q", "-p", interpreter(), TOOLS / "env"],
            [TOOLS / "env" / "bin" / "pip", "install", "-q", "-r", HERE / "autobahn.txt"],
        ):
            subprocess.run([str(word) for word in command], check=True, timeout=900)
    return program


@pytest.mark.timeout(0)
def test_no_case_of_autobahns_fails(tmp_path: Path) -> None:
    program = suite()
    cases = os.environ.get("AUTOBAHN_CASES", "*").split(",")
    env = {
        "HEADGATE_MAX_MESSAGE": "32MiB",  # its largest is 16 MiB
        "HEADGATE_OUTBOX_BYTES": "64MiB",
        "HEADGATE_DEFLATE": "1",
        "HEADGATE_DEFLATE_WINDOW": "15",
        "HEADGATE_JOBS": "0",
        "HEADGATE_BROKER": "memory",
    }
    python = {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    with Headgate("autobahn_app:app", tmp_path, app_folder=HERE, env=env | python, ready=False) as server:
        until(server.ready, "it serves", seconds=120)
        spec: dict[str, Any] = {
            "outdir": str(tmp_path / "reports"),
            "servers": [{"agent": path, "url": f"{server.ws_url}/{path}"} for path in PATHS],
            "cases": cases,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        (tmp_path / "spec.json").write_text(json.dumps(spec))
        subprocess.run(
            [str(program), "-m", "fuzzingclient", "-s", str(tmp_path / "spec.json")], check=True, cwd=tmp_path
        )
        until(server.ready, "it serves as before", seconds=60)
    told: dict[str, dict[str, dict[str, Any]]] = json.loads((tmp_path / "reports" / "index.json").read_text())
    assert set(told) == set(PATHS)
    failed = {
        f"{path} {case}": (result["behavior"], result["behaviorClose"])
        for path, results in told.items()
        for case, result in results.items()
        if not {result["behavior"], result["behaviorClose"]} <= PASSED
    }
    print({path: _counted(results) for path, results in told.items()})  # noqa: T201 - the soak shows what it counted
    assert failed == {}


def _counted(results: dict[str, dict[str, Any]]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for result in results.values():
        counted[result["behavior"]] = counted.get(result["behavior"], 0) + 1
    return counted
