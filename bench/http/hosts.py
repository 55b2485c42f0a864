"""The servers of the HTTP benchmark: 2 worker processes with 8 threads each, as far as the server knows both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.peers import ROOT, Peer
from tests.support.headgate import Headgate
from tests.support.process import Process
from tests.support.wait import accepts, free_port

HERE = Path(__file__).parent
WORKERS, THREADS = 2, 8


def peer(name: str) -> Peer:
    return Peer(name, ROOT / "bench" / "requirements" / f"{name}.txt")


GUNICORN, GEVENT, GRANIAN, A2WSGI, WAITRESS = map(peer, ("gunicorn", "gevent", "granian", "a2wsgi", "waitress"))


@dataclass(frozen=True)
class Host:
    """One server; `start(folder)` gives its address."""

    label: str
    command: str
    start: Callable[[Path], AbstractContextManager[str]]


def _host(label: str, where: Peer, command: str) -> Host:
    """A peer by its command line, in which PORT stands for the port."""

    @contextmanager
    def start(folder: Path) -> Iterator[str]:
        port = free_port()
        words = command.replace("PORT", str(port)).split()
        env = {"PATH": f"{where.path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(HERE)}
        process = Process(where.name, [where.program(words[0]), *words[1:]], folder, env=env, cwd=HERE)
        process.wait_ready(lambda: accepts(port))
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.stop()

    return Host(label, command, start)


HEADGATE_OPTIONS = ("--workers", str(WORKERS), "--threads", str(THREADS), "--gateways", "1")


@contextmanager
def _headgate(folder: Path) -> Iterator[str]:
    with Headgate("app:app", folder, *HEADGATE_OPTIONS, app_folder=HERE) as server:
        yield server.url


HOSTS = {
    "headgate": Host("Headgate", f"headgate run app:app {' '.join(HEADGATE_OPTIONS)}", _headgate),
    "gthread": _host("gunicorn gthread", GUNICORN, "gunicorn -k gthread -w 2 --threads 8 -b 127.0.0.1:PORT app:app"),
    "gevent": _host("gunicorn gevent", GEVENT, "gunicorn -k gevent -w 2 -b 127.0.0.1:PORT app:app"),
    "granian": _host(
        "granian WSGI",
        GRANIAN,
        "granian --interface wsgi --workers 2 --blocking-threads 8 --host 127.0.0.1 --port PORT --no-ws app:app",
    ),
    "a2wsgi": _host(
        "uvicorn + a2wsgi",
        A2WSGI,
        "uvicorn --workers 2 --no-access-log --log-level warning --host 127.0.0.1 --port PORT app_asgi:app",
    ),
    "waitress": _host("waitress (1 process)", WAITRESS, "waitress-serve --threads 16 --listen 127.0.0.1:PORT app:app"),
}
