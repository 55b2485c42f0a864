"""Starting a server for its turn in a benchmark: a peer from its own environment, or Headgate."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.peers import NodePeer, Peer
from tests.support.headgate import Headgate
from tests.support.marked import bearers, new_mark
from tests.support.process import Process
from tests.support.wait import accepts, free_port

BOOT = 120.0
"""Seconds that a server may take to start: it is not what is measured, and the machine may be busy."""
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Running:
    """A started server: its address, its first process, and all of its processes by their mark."""

    port: int
    pid: int
    mark: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def memory(self) -> int:
        """Bytes of all its processes; shared pages count once (proportional set size)."""
        return sum(process_memory(pid) for pid in bearers(self.mark))

    def cpu(self) -> float:
        """Seconds of processor time that its live processes have used."""
        return sum(_cpu(pid) for pid in bearers(self.mark))


@dataclass(frozen=True)
class Host:
    """One server of a benchmark."""

    label: str
    command: str
    start: Callable[[Path], AbstractContextManager[Running]]

    @contextmanager
    def turn(self) -> Iterator[Running]:
        """The running server, in a fresh folder."""
        folder = Path(tempfile.mkdtemp(prefix="hg-bench-", dir="/tmp"))
        try:
            with self.start(folder) as server:
                yield server
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def peer_host(
    label: str, where: Peer | NodePeer, command: str, home: Path, env: Mapping[str, str] | None = None
) -> Host:
    """A peer by its command line, in which PORT stands for the port; `home` holds its app."""

    @contextmanager
    def start(folder: Path) -> Iterator[Running]:
        port, mark = free_port(), new_mark()
        words = command.replace("PORT", str(port)).split()
        path = f"{where.path}{os.pathsep}{os.environ['PATH']}"
        settings = {"PATH": path, "PYTHONPATH": str(home), "PORT": str(port), **(env or {}), **mark}
        if isinstance(where, NodePeer):
            settings |= where.env
        process = Process(where.name, [where.program(words[0]), *words[1:]], folder, env=settings, cwd=home)
        process.wait_ready(lambda: accepts(port), BOOT)
        try:
            yield Running(port, process.pid, mark)
        finally:
            process.stop()
            for left in bearers(mark):  # a worker that its parent has left behind
                with suppress(ProcessLookupError):
                    os.kill(left, signal.SIGKILL)

    return Host(label, command, start)


def booted(
    target: str, folder: Path, *options: str, app_folder: Path, env: Mapping[str, str] | None = None
) -> Headgate:
    """A Headgate that serves."""
    server = Headgate(target, folder, *options, app_folder=app_folder, env=dict(env or {}), ready=False)
    server.process.wait_ready(server.ready, BOOT)
    return server


def headgate_host(label: str, target: str, home: Path, *options: str) -> Host:
    """Headgate with an app of `home`."""

    @contextmanager
    def start(folder: Path) -> Iterator[Running]:
        with booted(target, folder, *options, app_folder=home) as server:
            yield Running(server.port, server.pid, server.mark)

    return Host(label, " ".join(["headgate run", target, *options]), start)


def process_memory(pid: int) -> int:
    """Bytes of one process (proportional set size); 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS
