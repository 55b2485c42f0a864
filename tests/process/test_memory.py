"""What passed through a gateway does not stay in it."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from tests.support.fixtures import StartHeadgate

APP = """
from flask import Flask, request

app = Flask(__name__)


@app.post("/length")
def length():
    return str(len(request.get_data()))
"""


def resident(pid: int) -> int:
    """Bytes of a process's own pages."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Private_Dirty:", "Private_Clean:")))


def test_bodies_leave_with_their_requests(headgate_server: StartHeadgate) -> None:
    server = headgate_server(APP, "--gateways", "1")
    body = b"b" * 200_000  # below `body_memory`: kept in memory while the request lasts

    def post(times: int) -> None:
        for _ in range(times):
            request = urllib.request.Request(f"{server.url}/length", data=body, method="POST")
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert answer.read() == b"200000"

    post(20)
    gateway = server.children()["gateway"][0]
    before = resident(gateway)
    post(300)
    assert resident(gateway) - before < 20_000_000, "300 bodies of 200 KB passed through"
