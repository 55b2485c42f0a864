"""The conformance suite of the Durable Streams protocol against a Headgate that runs as its users run it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.headgate import Headgate

ROOT = Path(__file__).resolve().parents[2]
SUITE = ROOT / "tests" / "js"
PASSED = 332
"""Tests of suite 0.3.6 that a whole implementation passes. A server that answers only 404 passes 18 of them."""
SKIPPED = 6
"""Those of the reserved subscription API (§6), which the suite leaves out unless asked: we have none."""


@pytest.fixture(scope="module")
def suite() -> Path:
    """The suite, installed as the lockfile pins it."""
    npm = shutil.which("npm")
    assert npm is not None, "npm is missing: tools/system-packages installs it"
    lock, mark = SUITE / "package-lock.json", SUITE / "node_modules" / ".installed"
    if not mark.exists() or mark.read_bytes() != lock.read_bytes():
        done = subprocess.run([npm, "ci"], cwd=SUITE, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        mark.write_bytes(lock.read_bytes())
    return SUITE


def run(suite: Path, base: str, report: Path) -> dict[str, Any]:
    """The suite's report about a server."""
    command = ["npx", "--no-install", "vitest", "run", "durable_streams.test.js", "--reporter=json", "--retry=2"]
    environment = {**os.environ, "HEADGATE_STREAMS": base, "HEADGATE_POLL_MS": "1000", "CI": "1"}
    subprocess.run(
        [*command, "--testTimeout=30000", f"--outputFile={report}"],
        cwd=suite,
        env=environment,
        capture_output=True,
        timeout=300,
        check=False,
    )
    told: dict[str, Any] = json.loads(report.read_text())
    return told


@pytest.mark.timeout(400)
def test_the_protocol_is_kept(suite: Path, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="hg-", dir="/tmp") as folder:
        app, env = "tests.support.streams_app:app", {"HEADGATE_STREAM_POLL": "1"}
        with Headgate(app, Path(folder), app_folder=ROOT, env=env) as server:
            told = run(suite, f"{server.url}/-/streams", tmp_path / "report.json")
    tests = [one for file in told["testResults"] for one in file["assertionResults"]]
    failed = [f"{one['fullName']}: {one['failureMessages']}" for one in tests if one["status"] == "failed"]
    assert not failed, "\n".join(failed)
    counts = Counter(one["status"] for one in tests)
    assert (counts["passed"], counts["skipped"] + counts["pending"]) == (PASSED, SKIPPED), counts


def test_the_served_client_is_made_from_its_source(suite: Path, tmp_path: Path) -> None:
    static = ROOT / "src" / "headgate" / "gateway" / "static"
    made = tmp_path / "client.js"
    subprocess.run(["node", "minify.js", str(static / "headgate.js"), str(made)], cwd=suite, check=True, timeout=60)
    assert made.read_text() == (static / "client.js").read_text(), "run `node minify.js` in tests/js again"
    assert made.stat().st_size <= 6 * 1024
