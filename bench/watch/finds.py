"""What the peers' detectors find in the matrix of `tests/watch`: was a block told of, and was its place named."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.peers import ROOT, Peer
from bench.watch.detectors import PEERS
from tests.support.mariadb import MariaDB
from tests.support.postgres import Postgres
from tests.support.process import Process
from tests.watch import blocks, matrix
from tests.watch.servers import slow_dns, slow_web
from tests.watch.test_matrix import EXPECTED, problems

DEADLINE = 200.0


@dataclass(frozen=True)
class Found:
    """What one detector said of one block."""

    seen: bool
    named: bool


@contextlib.contextmanager
def databases() -> Iterator[dict[str, str]]:
    """What the calls wait for."""
    with Postgres() as postgres, MariaDB() as mariadb:
        yield {"postgres": postgres.url(), "mariadb": str(mariadb.port), **blocks.sizes()}


def ours(addresses: dict[str, str]) -> dict[str, dict[str, Found]]:
    """kind → block → what the watch said."""
    with tempfile.TemporaryDirectory(prefix="hg-watch-", dir="/tmp") as folder:
        outcomes, _ = matrix.run(Path(folder), addresses)
    return {
        kind: {name: Found(bool(outcome.of(name)), not problems(kind, name, outcome)) for name in blocks.NAMES}
        for kind, outcome in outcomes.items()
    }


def peer(environment: Peer, detector: str, addresses: dict[str, str]) -> dict[str, Found]:
    """block → what a peer's detector said, on its own kind of loop."""
    with tempfile.TemporaryDirectory(prefix="hg-watch-", dir="/tmp") as folder:
        return _peer(environment, detector, Path(folder), addresses)


def _peer(environment: Peer, detector: str, folder: Path, addresses: dict[str, str]) -> dict[str, Found]:
    kind = PEERS[detector][0]
    with slow_web() as web, slow_dns() as dns:
        given = json.dumps({**addresses, "web": web, "dns": str(dns)})
        env = {**os.environ, "PYTHONPATH": str(ROOT), "STACKS": str(folder), "PYTHONUNBUFFERED": "1"}
        log, left = "", list(blocks.NAMES)
        while left:  # a detector that raises may end a desk: the next one goes on after the block that it ended in
            desk = [environment.program("python"), "-m", "bench.watch.peer_desk", detector, kind, str(folder), given]
            process = Process(f"{detector}-{len(left)}", [*desk, ",".join(left)], folder, env=env, cwd=ROOT)
            try:
                process.popen.wait(DEADLINE)
            finally:
                process.stop()
            log += process.log()
            begun = {name for name in left if f"@@ {name} begin" in process.log()} or {left[0]}
            left = [name for name in left if name not in begun]
    return {name: _said(log, folder, name) for name in blocks.NAMES}


def _said(log: str, folder: Path, name: str) -> Found:
    """What stands between a block's two marks, and in the stack files that were written meanwhile."""
    part = re.search(rf"@@ {name} begin (\d+)\n(.*?)@@ {name} end (\d+)\n", log, re.DOTALL)
    if part is None:
        return Found(False, False)
    begin, text, end = int(part.group(1)) / 1e9, part.group(2), int(part.group(3)) / 1e9
    for path in folder.glob("stacktrace-*"):
        if begin <= path.stat().st_mtime <= end + 0.2:
            text += path.read_text(errors="replace")
    wanted = EXPECTED[name].function.rpartition(".")[2] or name
    return Found(bool(text.strip()), re.search(rf"\b{wanted}\b", text) is not None)
