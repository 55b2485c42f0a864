"""The protocol suites of Engine.IO and Socket.IO, from checkouts: SOCKETIO_PROTOCOL_SUITES names the folder with both.

It holds `engine.io-protocol` and `socket.io-protocol`, each with its `test-suite` and what `npm install` puts there.
Tests that depend on two WebSocket messages not arriving together are tried again: they fail now and then on any server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.folders import short_folder
from tests.support.headgate import Headgate
from tests.support.process import Process
from tests.support.wait import accepts, free_port

ROOT = Path(__file__).resolve().parents[2]
APPS = Path(__file__).parent / "socketio_apps"
TRIES = 3


def failed(suite: Path, url: str) -> set[str]:
    """The titles of the tests that failed in every one of the tries."""
    source = (suite / "test-suite.js").read_text()
    (suite / "run.js").write_text(source.replace("http://localhost:3000", url))
    left: set[str] | None = None
    for _ in range(TRIES):
        command = ["npx", "--no-install", "mocha", "run.js", "--timeout", "5000", "--exit", "--reporter", "json"]
        done = subprocess.run(command, cwd=suite, capture_output=True, text=True, timeout=110, check=False)
        told = json.loads(done.stdout[done.stdout.index("{") :])
        assert told["stats"]["tests"] > 20
        now = {one["fullTitle"] for one in told["failures"]}
        left = now if left is None else left & now
        if not left:
            break
    assert left is not None
    return left


def suite(name: str) -> Path:
    folder = os.environ.get("SOCKETIO_PROTOCOL_SUITES", "")
    if not folder:
        pytest.skip("SOCKETIO_PROTOCOL_SUITES names no folder with the suites' checkouts")
    return Path(folder) / name / "test-suite"


def test_socketio() -> None:
    tests = suite("socket.io-protocol")
    folder = short_folder("sio")
    with Headgate("wide:app", folder, "--jobs", "1", "--stop-timeout", "3", app_folder=APPS) as server:
        assert failed(tests, server.url) == set()


def test_engineio() -> None:
    tests = suite("engine.io-protocol")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="hg-eio-", dir="/tmp") as folder:
        command = [sys.executable, "-m", "tests.support.engineio_echo", folder, str(port)]
        process = Process("echo", command, Path(folder), cwd=ROOT)
        try:
            process.wait_ready(lambda: accepts(port))
            assert failed(tests, f"http://127.0.0.1:{port}") == set()
        finally:
            process.stop()
