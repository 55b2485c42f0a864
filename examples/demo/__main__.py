"""`python -m examples.demo`: the order desk under Headgate, and 200 users who click."""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
from pathlib import Path

from examples.demo import orders

_FIRST_PORT = 8000


def main() -> None:
    """Start the users, then become `headgate run`: one process to watch, one Ctrl-C ends all."""
    options = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    options.add_argument("--port", type=int, help="default: 8000, or the next free one")
    options.add_argument("--data", type=Path, default=Path(".headgate/demo"), help="where the orders and jobs are kept")
    options.add_argument("--users", type=int, default=200, help="how many simulated users click")
    options.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    given = options.parse_args()

    bind = f"127.0.0.1:{given.port or _free_port()}"
    os.environ["HEADGATE_DATA"] = str(given.data.resolve())
    orders.prepare()
    opening = [] if given.no_browser else ["--open"]
    users = ["examples.demo.users", f"http://{bind}", "--users", str(given.users), *opening]
    subprocess.Popen([sys.executable, "-m", *users])
    server = ["headgate", "run", "examples.demo.app:app", "--bind", bind]
    os.execv(sys.executable, [sys.executable, "-m", *server])


def _free_port() -> int:
    """The first port from 8000 on that nothing listens on."""
    for port in range(_FIRST_PORT, _FIRST_PORT + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise SystemExit(f"No port from {_FIRST_PORT} to {_FIRST_PORT + 99} is free; name one with --port.")


if __name__ == "__main__":
    main()
