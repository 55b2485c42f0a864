"""The test servers themselves: what they promise the other tests is true."""

from __future__ import annotations

import os
import signal
import sys
import threading
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psycopg
import pytest
from websockets.sync.server import ServerConnection, serve

from tests.support.chromium import Page
from tests.support.fixtures import keep
from tests.support.marked import bearers, new_mark
from tests.support.nginx import Nginx
from tests.support.process import MissingProgram, Process, program
from tests.support.redis import Redis
from tests.support.sockets import open_socket
from tests.support.wait import NeverCame, free_port, until


def test_until_tells_what_did_not_come() -> None:
    with pytest.raises(NeverCame, match=r"the moon: not within 0\.05 s \(last: 0\)"):
        until(lambda: 0, "the moon", seconds=0.05)


def test_a_missing_program_is_named() -> None:
    with pytest.raises(MissingProgram, match="no-such-program or nor-this is not on this machine"):
        program("no-such-program", "nor-this")


def test_a_process_that_ends_early_fails_with_its_log(workdir: Path) -> None:
    process = Process("early", [sys.executable, "-c", "print('no config'); raise SystemExit(3)"], workdir)
    with pytest.raises(AssertionError, match=r"early ended with 3 before it was ready:\nno config"):
        process.wait_ready(lambda: False)


def test_a_process_that_ignores_the_order_is_killed(workdir: Path) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    process = Process("deaf", [sys.executable, "-c", code], workdir)
    process.wait_ready(lambda: "up" in process.log())
    assert process.stop(seconds=0.2) == -signal.SIGKILL


def test_orphans_are_found_by_their_mark(workdir: Path) -> None:
    mark = new_mark()
    code = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
        " start_new_session=True); print(child.pid, flush=True)"
    )
    parent = Process("parent", [sys.executable, "-c", code], workdir, env=mark)
    assert parent.popen.wait(20) == 0
    orphan = int(parent.log())
    assert list(bearers(mark)) == [orphan]
    os.kill(orphan, signal.SIGKILL)
    until(lambda: not bearers(mark), "the orphan gone")


def test_a_failed_tests_folder_is_kept_without_its_sockets(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.fixtures.ARTIFACTS", workdir / "artifacts")
    folder = workdir / "run"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "log").write_text("what happened")
    os.mkfifo(folder / "data" / "pipe")
    kept = keep(folder, "tests/process/test_x.py::test_y[a b]")
    assert [path.name for path in kept.rglob("*")] == ["data", "log"]
    assert kept.name == "tests_process_test_x.py_test_y_a_b"


def test_postgres_gives_each_test_an_empty_database(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        server = connection.execute("SELECT inet_server_addr()::text").fetchone()
    assert found == (0,)
    assert server == ("127.0.0.1/32",)


def test_redis_is_empty_at_the_start_of_a_test(redis_url: str, redis_process: Redis) -> None:
    with redis_process.client() as client:
        assert client.dbsize() == 0
        client.set("left", "behind")
    redis_process.flush()
    assert redis_url.startswith("redis://127.0.0.1:")


def test_a_durable_redis_keeps_its_data_over_a_kill(redis_server: Callable[..., Redis]) -> None:
    server = redis_server({"appendonly": "yes", "appendfsync": "always"})
    with server.client() as client:
        client.set("acknowledged", 1)
    server.kill()
    server.restart()
    with server.client() as client:
        assert client.get("acknowledged") == b"1"


class Upstream(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = self.headers["X-From"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: the test's output is for the test."""


def test_nginx_runs_the_given_configuration(nginx_server: Callable[[str], Nginx]) -> None:
    with HTTPServer(("127.0.0.1", 0), Upstream) as upstream:
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
        nginx = nginx_server(
            "server { listen 127.0.0.1:{port}; location / {"
            f" proxy_set_header X-From nginx; proxy_pass http://127.0.0.1:{upstream.server_port}; }} }}"
        )
        with urllib.request.urlopen(nginx.url, timeout=10) as answer:
            assert answer.read() == b"nginx"
        upstream.shutdown()


def test_a_broken_nginx_configuration_fails_with_nginx_own_words(nginx_server: Callable[[str], Nginx]) -> None:
    with pytest.raises(AssertionError, match='unknown directive "lissten"'):
        nginx_server("server { lissten 1; }")


def test_sockets_have_deadlines_and_speak_json() -> None:
    def answer(connection: ServerConnection) -> None:
        for message in connection:
            if message != '"silence"':
                connection.send(message)

    port = free_port()
    with serve(answer, "127.0.0.1", port) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with open_socket(f"ws://127.0.0.1:{port}/") as sock:
            assert sock.ask({"id": 1}) == {"id": 1}
            assert sock.ask(b"\x00") == b"\x00"
            assert sock.ask("not json") == "not json"
            with pytest.raises(TimeoutError):
                sock.ask('"silence"', seconds=0.05)
        server.shutdown()
        thread.join(10)
        assert not thread.is_alive()


def test_chromium_clicks_reads_and_reports_errors(page: Page, workdir: Path) -> None:
    source = workdir / "page.html"
    source.write_text(
        "<button onclick=\"document.querySelector('p').textContent = 'clicked'; missing()\">x</button><p>before</p>"
    )
    page.goto(source.as_uri())
    assert page.text("p") == "before"
    page.click("button")
    page.wait_for("document.querySelector('p').textContent === 'clicked'")
    assert [error.split("\n")[0] for error in page.errors] == ["ReferenceError: missing is not defined"]
    assert page.screenshot(workdir / "shot.png").read_bytes().startswith(b"\x89PNG")
