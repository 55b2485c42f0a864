"""A Flask-SocketIO app with the JavaScript client of Socket.IO: transports, gateways, and coming back after a cut."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import short_folder
from tests.support.headgate import Headgate

APPS = Path(__file__).parent / "socketio_apps"
SCRIPTS = Path(__file__).resolve().parents[1] / "js" / "socketio"
TRANSPORTS = ("websocket", "polling", "polling,websocket")


@pytest.fixture(scope="module")
def node() -> str:
    """Node, with the client installed as the lockfile pins it."""
    npm, program = shutil.which("npm"), shutil.which("node")
    assert npm is not None, "npm is missing: tools/system-packages installs it"
    assert program is not None
    lock, mark = SCRIPTS / "package-lock.json", SCRIPTS / "node_modules" / ".installed"
    if not mark.exists() or mark.read_bytes() != lock.read_bytes():
        done = subprocess.run([npm, "ci"], cwd=SCRIPTS, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        mark.write_bytes(lock.read_bytes())
    return program


def started(app: str, gateways: int, env: dict[str, str] | None = None) -> Iterator[Headgate]:
    folder = short_folder("sio")
    options = ("--gateways", str(gateways), "--jobs", "1", "--stop-timeout", "5")
    with Headgate(f"{app}:app", folder, *options, app_folder=APPS, env=env) as server:
        yield server


@pytest.fixture(scope="module", params=[1, 4], ids=["1 gateway", "4 gateways"])
def chat(request: pytest.FixtureRequest) -> Iterator[Headgate]:
    yield from started("chat", request.param)


@pytest.fixture(scope="module", params=[1, 4], ids=["1 gateway", "4 gateways"])
def orders(request: pytest.FixtureRequest) -> Iterator[Headgate]:
    """An app whose clients may come back."""
    yield from started("orders", request.param, {"HEADGATE_SOCKETIO_RECOVERY": "60"})


def story(node: str, name: str, server: Headgate, transports: str = "websocket") -> dict[str, Any]:
    """What a story tells at its end."""
    done = subprocess.run(
        [node, "client.js", name, server.url, transports],
        cwd=SCRIPTS,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr + server.log()[-2000:]
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_talk(node: str, chat: Headgate, transports: str) -> None:
    assert story(node, "talk", chat, transports) == {
        "welcome": "ada",
        "same": True,
        "echoed": [1, "ä\u2028", [0, 255]],
        "said": {"name": "ada", "text": "hello"},
        "asked": "how!",
        "transport": "polling" if transports == "polling" else "websocket",
    }


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_borders(node: str, chat: Headgate, transports: str) -> None:
    assert story(node, "borders", chat, transports) == {
        "refusal": ["banned", {"until": "tomorrow"}],
        "unknown": "Invalid namespace",
        "hello": "/rooms",
        "reason": "io server disconnect",
        "left": "server disconnect",
    }


@pytest.mark.parametrize("name", ["returns", "half_open", "before_any_event", "after_a_volatile_text"])
@pytest.mark.parametrize("transports", ["websocket", "polling"])
def test_missed_events_come_after_a_cut(node: str, orders: Headgate, name: str, transports: str) -> None:
    """Five of five, also in the three cases in which Socket.IO's own server gives none."""
    told = story(node, name, orders, transports)
    assert told == {"numbers": [0, 1, 2, 3, 4], "recovered": True, "same": True}
