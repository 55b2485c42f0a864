"""What the app is told when it imports eventlet and gevent, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

MEET = """
import logging
from pathlib import Path
from headgate.declare.socketio import hook
logging.basicConfig(level=logging.INFO, format="%(message)s")
hook.prepare(Path("."))
import shop
"""


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import eventlet\n\neventlet.monkey_patch()\neventlet.monkey_patch()\n", "eventlet.monkey_patch()"),
        ("from gevent import monkey\n\nmonkey.patch_all()\nmonkey.patch_all()\n", "gevent.monkey"),
    ],
)
def test_patching_is_left_out_and_its_line_is_told_once(source: str, what: str, tmp_path: Path) -> None:
    if find_spec(source.split()[1]) is None:  # looked for, not imported: eventlet changes the process that imports it
        pytest.skip("it is not installed")
    (tmp_path / "shop.py").write_text(source)
    line = [sys.executable, "-W", "error::UserWarning", "-c", MEET]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    told = [each for each in done.stderr.splitlines() if "left out" in each]
    reason = "handlers run on real threads here, and sockets are the gateway's"
    assert told == [f"{what} is left out ({tmp_path / 'shop.py'}:3): {reason}"]
    assert "eprecat" not in done.stderr
