"""Headgate's own processes under watch: in the log, in status, in the metrics; and where nobody can look."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import httpx

from headgate.watch import board, pyspy
from headgate.watch.board import H_BEAT, H_SIGHT, SIGHTS, Board
from headgate.watch.native import clock
from headgate.watch.observer import Observer
from headgate.watch.outside_samples import Seen
from headgate.watch.process import Options, Watch
from tests.support.fixtures import StartHeadgate
from tests.support.wait import until

APP = """
import threading, time
from flask import Flask
app = Flask(__name__)
held = threading.Event()

@app.get("/wait")
def wait():
    time.sleep(0.6)
    return "waited"

@app.get("/hang")
def hang():
    held.wait(8)
    return "hung"
"""


def test_a_slow_handler_is_named_in_the_log_in_status_and_in_the_metrics(
    workdir: Path, headgate_server: StartHeadgate
) -> None:
    (workdir / "shop.py").write_text(APP)
    server = headgate_server("shop:app", app_folder=workdir, env={"HEADGATE_WATCH_HANDLER_THRESHOLD": "0.2"})
    assert httpx.get(f"{server.url}/wait", timeout=30).text == "waited"

    def places() -> list[dict[str, object]]:
        watches = [each["stats"].get("watch") or {} for each in server.status()["processes"]]
        found = [place for watch in watches for place in watch.get("places", ())]
        return [place for place in found if place["handler"]]  # a machine without CPU is told of too

    (place,) = until(places, "the place in the status", 30)
    assert (place["call"], place["function"], place["handler"]) == ("time.sleep", "wait", "GET /wait")
    assert "`time.sleep` blocked thread" in server.log()
    hanging = threading.Thread(target=lambda: httpx.get(f"{server.url}/hang", timeout=60))
    hanging.start()

    def busy() -> list[dict[str, object]]:
        listed = [each["stats"].get("threads_busy") or [] for each in server.status()["processes"]]
        return [each for some in listed for each in some if each["handler"] == "GET /hang"]

    (thread,) = until(busy, "the handler that hangs", 30)
    assert str(thread["at"]).startswith("hang ")
    assert thread["waits"] == "futex"
    transport = httpx.HTTPTransport(uds=str(server.data / "run" / "admin.0.sock"))
    with httpx.Client(transport=transport) as client:
        metrics = client.get("http://gateway/metrics").text
    assert 'headgate_watch_incidents_total{process="app-slow-0"' in metrics
    server.stop()
    hanging.join(30)


def test_where_nobody_may_look_status_says_so(tmp_path: Path) -> None:
    def refused(_pid: int) -> Seen:
        raise pyspy.CannotSee("refused", "Operation not permitted")

    made = Board(tmp_path, "this", 20_000_000)
    made.cells[H_BEAT] = clock()
    observer = Observer(tmp_path, look=refused)
    observer.start()
    try:
        until(lambda: SIGHTS[made.cells[H_SIGHT]] == "refused", "the observer's word")
        watch = Watch(Options(folder=tmp_path, log=None))
        watch._board = made
        assert watch.sight() == "late, GIL-blind: the system does not let the observer read this process (ptrace)"
        assert observer.sights() == {os.getpid(): ("refused", "Operation not permitted")}
    finally:
        observer.stop()
        made.remove()


def test_without_an_observer_it_says_that_too() -> None:
    assert Watch(Options(log=None)).sight() == "late, GIL-blind: nobody looks from outside"


def test_the_board_has_room_for_each_thread_and_no_more() -> None:
    made = Board(None, "full", 1)
    rows = [made.row() for _ in range(board.ROWS + 1)]
    assert len(set(rows[:-1])) == board.ROWS
    assert rows[-1] is None
