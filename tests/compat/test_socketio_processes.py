"""Flask-SocketIO apps and Headgate's processes: reload, death, jobs, scripts, background threads, patching."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.folders import short_folder
from tests.support.headgate import Headgate
from tests.support.socketio import Player
from tests.support.wait import until

APPS = Path(__file__).parent / "socketio_apps"


def started(target: str, *options: str, app_folder: Path = APPS) -> Headgate:
    folder = short_folder("sio")
    given = ("--gateways", "2", "--workers", "1", "--jobs", "1", "--stop-timeout", "5", *options)
    return Headgate(target, folder, *given, app_folder=app_folder)


@pytest.fixture(scope="module")
def orders() -> Iterator[Headgate]:
    with started("orders:app") as server:
        yield server


def test_a_reload_and_a_killed_worker_close_no_session(orders: Headgate) -> None:
    transports = ("websocket", "polling", "upgrade", "websocket")
    players = [Player(orders.url, transport) for transport in transports]
    sids = [player.sid for player in players]
    try:
        for player in players:
            assert player.call("echo", 1) == 1
        killed = set(orders.children()["app"])
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        until(lambda: not orders.ready(), "the gateways have seen it", 30)
        until(orders.ready, "new app workers", 30)
        for player in players:
            assert player.call("echo", "after the kill") == "after the kill"
        before = set(orders.children()["app"])
        orders.reload()
        until(lambda: not before & set(orders.children()["app"]), "the new generation", 60)
        until(orders.ready, "ready again", 30)
        for player in players:
            assert player.call("echo", "after the reload") == "after the reload"
        httpx.post(f"{orders.url}/emit/3").raise_for_status()
        for player in players:
            assert player.expect("order", 3) == [0, 1, 2]
            assert not player.gone.is_set()
        assert [player.sid for player in players] == sids
    finally:
        for player in players:
            player.close()


def test_a_client_that_does_not_read_costs_a_megabyte(orders: Headgate) -> None:
    """30 MB are emitted: it is closed at the bound, another client gets all, and the gateways have not grown by it."""
    with Player(orders.url) as reader:
        deaf = socket.create_connection(("127.0.0.1", orders.port))
        key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13"
        head = f"Host: 127.0.0.1:{orders.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{key}\r\n\r\n"
        deaf.sendall(f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n{head}".encode())
        deaf.sendall(b"\x81\x82\x00\x00\x00\x0040")
        until(lambda: _total(orders, "socketio_clients") == 2, "the deaf client in the room")
        httpx.post(f"{orders.url}/flood/32", timeout=60).raise_for_status()
        reader.expect("flood", 32, 60)
        before = _memory(orders)
        for round in range(2, 16):
            httpx.post(f"{orders.url}/flood/32", timeout=60).raise_for_status()
            reader.expect("flood", 32 * round, 60)
        assert _memory(orders) - before < 8 * 1024 * 1024
        until(lambda: _total(orders, "socketio_closed_slow") == 1, "the deaf client closed")
        assert not reader.gone.is_set()
        deaf.close()


def _total(server: Headgate, name: str) -> int:
    """A number of all gateways."""
    return sum(int(one.get(name, 0)) for one in _gateways(server.status()))


def _gateways(status: Any) -> Iterator[dict[str, Any]]:
    """The gateways' reports, wherever in the status they stand."""
    if isinstance(status, dict):
        if "socketio_clients" in status:
            yield status
        else:
            for value in status.values():
                yield from _gateways(value)
    elif isinstance(status, list):
        for value in status:
            yield from _gateways(value)


def _memory(server: Headgate) -> int:
    """Bytes of the gateways alone."""
    total = 0
    for pid in server.children()["gateway"]:
        line = next(one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("RssAnon"))
        total += int(line.split()[1]) * 1024
    return total


def test_jobs_emit(orders: Headgate) -> None:
    with Player(orders.url) as one, Player(orders.url, "polling") as other:
        assert one.call("report", 4)
        for player in (one, other):
            assert player.expect("reported", 4) == [0, 1, 2, 3]


def test_a_script_emits(orders: Headgate) -> None:
    script = """
        import headgate.socketio
        from flask_socketio import SocketIO
        import socketio
        SocketIO(message_queue="redis://nowhere:1").emit("told", {"by": "a script"}, to="orders")
        queue = socketio.KombuManager("amqp://nowhere", write_only=True)
        queue.emit("told", ("two", b"x"), namespace="/", room="orders")
    """
    with Player(orders.url) as player:
        env = {**os.environ, "HEADGATE_DATA": str(orders.data)}
        command = [sys.executable, "-c", textwrap.dedent(script)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert player.expect("told", 2) == [{"by": "a script"}, ("two", b"x")]


def test_a_background_thread_runs_once_and_moves(tmp_path: Path) -> None:
    """An app for eventlet, with a message queue, that runs itself: patched nothing, and ticked by one process."""
    with started("dashboard:app", "--workers", "2") as server:
        players = [Player(server.url, headers={"Origin": server.url}) for _ in range(8)]
        try:
            pids = {tick["pid"] for player in players for tick in player.expect("tick", 5)}
            assert len(pids) == 1
            numbers = [tick["number"] for tick in players[0].got("tick")]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            os.kill(pids.pop(), signal.SIGKILL)
            before = len(players[0].got("tick"))
            Player(server.url, headers={"Origin": server.url}).close()
            players[0].expect("tick", before + 3, 30)
            players[1].emit("update", 1.5)
            assert [players[1].call("click", number) for number in range(3)] == [0, 1, 2]
            assert players[1].got("progress") != [0, 1, 2], "the clicks were answered while the update ran"
            players[1].emit("later", "by a thread of its own")
            assert players[2].expect("announced") == ["by a thread of its own"]
            assert not any(player.gone.is_set() for player in players)
        finally:
            for player in players:
                player.close()
        log = server.log()
    for line in ("eventlet.monkey_patch() is left out", "async_mode='eventlet' is not needed", "message queue is not"):
        assert line in log
    assert "socketio.run() is not needed here" in log


@pytest.mark.parametrize("line", ["gevent.spawn(print)", "eventlet.spawn(print)"])
def test_green_threads_are_refused(tmp_path: Path, line: str) -> None:
    """No hub runs that would ever switch to them: the app does not start, and is told what to write instead."""
    library = line.partition(".")[0]
    source = f"import {library}\n{library}.sleep(0)\nfrom flask import Flask\napp = Flask(__name__)\n{line}\n"
    (tmp_path / "green.py").write_text(source)
    folder = short_folder("sio")
    server = Headgate("green:app", folder, "--jobs", "0", app_folder=tmp_path, ready=False)
    try:
        until(lambda: not server.process.alive(), "the end of a server that cannot start", 60)
        assert "socketio.start_background_task()" in server.log()
    finally:
        server.close()
