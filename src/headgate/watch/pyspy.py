"""py-spy: reads a Python process's stacks from its memory, without its interpreter lock and without stopping it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from headgate.base.errors import HeadgateError
from headgate.watch.native import clock
from headgate.watch.outside_samples import Seen
from headgate.watch.stacks import Frame, Stack, without_own

TIMEOUT: Final = 10.0
_REFUSALS: Final = ("permission denied", "operation not permitted", "eperm", "requires root", "try running again with")


class CannotSee(HeadgateError):
    """A process cannot be read from outside.

    Args:
        sight: "refused", "missing" or "broken", as on the board.
        reason: what py-spy said.
    """

    def __init__(self, sight: str, reason: str) -> None:
        super().__init__(reason)
        self.sight = sight


def program() -> str:
    """The path of py-spy: beside this interpreter, or in PATH.

    Raises:
        CannotSee: it is not installed.
    """
    beside = Path(sys.executable).parent / "py-spy"
    if beside.exists():
        return str(beside)
    found = shutil.which("py-spy")
    if found is None:
        raise CannotSee("missing", "py-spy is not installed: `pip install 'headgate[watch]'`")
    return found


def look(pid: int) -> Seen:
    """Read all stacks of a process.

    Raises:
        CannotSee: it is gone, is no Python process, or the system does not allow it.
    """
    begun = clock()
    command = [program(), "dump", "--json", "--nonblocking", "--full-filenames", "--pid", str(pid)]
    environ = {**os.environ, "RUST_BACKTRACE": "0"}
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False, env=environ)
    except OSError as exc:
        raise CannotSee("missing", f"py-spy cannot be started ({exc.strerror})") from exc
    except subprocess.TimeoutExpired as exc:
        raise CannotSee("broken", f"py-spy did not read process {pid} within {TIMEOUT:g} s") from exc
    if done.returncode:
        text = " ".join(done.stderr.decode("utf-8", "replace").split())[:300]
        refused = any(word in text.lower() for word in _REFUSALS)
        raise CannotSee("refused" if refused else "broken", f"py-spy cannot read process {pid}: {text}")
    try:
        return _parsed(json.loads(done.stdout), begun)
    except (ValueError, KeyError, TypeError) as exc:
        raise CannotSee("broken", f"py-spy said of process {pid} what cannot be read ({exc!r})") from exc


def _parsed(threads: list[dict[str, Any]], begun: int) -> Seen:
    stacks: dict[int, Stack] = {}
    owner = 0
    for thread in threads:
        tid = int(thread.get("os_thread_id") or 0)
        stacks[tid] = without_own(tuple(_frame(frame) for frame in thread["frames"]))
        if thread.get("owns_gil"):
            owner = tid
    return Seen(begun, clock(), owner, stacks)


def _frame(frame: dict[str, Any]) -> Frame:
    return Frame(str(frame["filename"]), int(frame["line"]), str(frame["name"]).replace("<locals>.", ""))
