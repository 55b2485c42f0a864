"""The other targets: HTTP, with jobs; Socket.IO on both transports; scenarios from files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from headgate.simulate.errors import ExitCode
from tests.process.simulate.test_findings import hard, simulate

Target = Callable[..., str]
SOCKETIO = pytest.mark.parametrize("protocol", ["socketio", "socketio-polling", "socketio-upgrade"])


def http(url: str) -> str:
    return url.replace("ws://", "http://")


def test_http_clicks_and_jobs(target: Target) -> None:
    report = simulate(http(target("http_target.py", delay=0.2)), heavy=0.2)
    assert (report.protocol, report.scenario) == ("http", "http-clicks")
    assert (report.exit_code, hard(report)) == (ExitCode.PASSED, {})
    assert report.counts["answered"] == report.counts["clicks"] > 200
    assert report.counts["results"] == report.series["update"].count > 20
    assert report.p50("update.result") >= 0.2 > report.p50("update")


def test_http_jobs_are_asked_for_again_after_a_storm(target: Target) -> None:
    options = {"seconds": 3, "drain": 20.0, "faults": ["reconnect-storm@1.5s,share=100%"]}
    report = simulate(http(target("http_target.py", delay=0.8)), heavy=0.5, params={"poll": 0.01}, **options)
    assert (report.exit_code, hard(report)) == (ExitCode.PASSED, {})
    assert report.counts["reconnects"] == 20
    assert report.counts["results"] > 50


def test_http_connections_that_close_are_replaced(target: Target) -> None:
    report = simulate(http(target("http_target.py", close=True)), heavy=0.0)
    assert (report.counts["answered"], hard(report)) == (report.counts["clicks"], {})


def test_http_errors_are_told_by_status(target: Target) -> None:
    report = simulate(http(target("http_target.py", fail=[5, 6])), heavy=0.0, slo=["errors(HTTP 503) == 2"])
    assert report.counts["errors.HTTP 503"] == report.counts["errors"] == 2
    assert report.exit_code == ExitCode.PASSED


def test_http_clicks_do_not_wait_for_slow_answers(target: Target) -> None:
    report = simulate(http(target("http_target.py", slow=0.3)), heavy=0.0, users=5, rate="5/user", pace="even")
    # Every user has one and a half requests under way: one connection each would queue them.
    assert report.counts["answered"] == report.counts["clicks"]
    assert report.p50("click") < 0.6


def test_failed_jobs_are_counted(target: Target) -> None:
    report = simulate(http(target("http_target.py", bad_jobs=True)), heavy=0.3)
    assert report.counts["failed"] == report.series["update"].count > 0


@SOCKETIO
def test_socketio_acknowledgements(target: Target, protocol: str) -> None:
    report = simulate(http(target("socketio_target.py")), protocol=protocol)
    assert (report.exit_code, report.problem, hard(report)) == (ExitCode.PASSED, None, {})
    assert report.counts["answered"] == report.counts["clicks"] > 200


@SOCKETIO
def test_socketio_answers_as_events(target: Target, protocol: str) -> None:
    url = target("socketio_target.py", event=True) + "live"
    report = simulate(url, protocol=protocol, params={"ack": False})
    assert (report.exit_code, report.problem, hard(report)) == (ExitCode.PASSED, None, {})
    assert report.counts["answered"] == report.counts["clicks"] > 200
    assert report.counts["messages"] > report.counts["clicks"]  # the pictures, which answer nothing


@SOCKETIO
def test_socketio_losses_and_disconnects(target: Target, protocol: str) -> None:
    report = simulate(target("socketio_target.py", lose=[50], kick_at=100), protocol=protocol, ordered=False)
    assert report.counts["disconnects"] == report.counts["reconnects"] == 1
    assert 1 <= report.lost <= 2  # the kicked client's answer may be on its way already


@SOCKETIO
def test_socketio_refusal_is_explained(target: Target, protocol: str) -> None:
    report = simulate(target("socketio_target.py", refuse=True), protocol=protocol)
    assert report.exit_code == ExitCode.TARGET
    assert "refused the connection" in (report.problem or "")


def test_socketio_users_move_from_polling_to_websocket_under_their_clicks(target: Target) -> None:
    report = simulate(target("socketio_target.py"), protocol="socketio-upgrade", rate="20/user")
    assert (report.exit_code, report.problem, hard(report)) == (ExitCode.PASSED, None, {})
    assert report.counts["upgrades"] == report.counts["opened"] == 20
    assert "upgrades_failed" not in report.counts
    assert report.counts["answered"] == report.counts["clicks"] > 400


def test_a_storm_makes_upgraded_users_start_over_on_polling(target: Target) -> None:
    # All have moved to WebSocket by the second second, and a crowded machine is given time to answer.
    options = {"seconds": 4, "drain": 20.0, "faults": ["reconnect-storm@2s,share=100%"]}
    report = simulate(target("socketio_target.py"), protocol="socketio-upgrade", **options)
    assert (report.exit_code, hard(report)) == (ExitCode.PASSED, {})
    assert (report.counts["reconnects"], report.counts["upgrades"]) == (20, 40)


@pytest.mark.parametrize("refuse", ["offer", "handshake", "probe"])
def test_users_whose_upgrade_fails_stay_on_polling(target: Target, refuse: str) -> None:
    url = target("socketio_target.py", no_upgrade=refuse)
    report = simulate(url, protocol="socketio-upgrade", slo=["upgrades_failed == 0"], timeout=2.0)
    assert (report.counts["upgrades_failed"], report.counts.get("upgrades", 0)) == (20, 0)
    assert report.counts["answered"] == report.counts["clicks"] > 200
    assert (hard(report), report.exit_code) == ({}, ExitCode.FAILED)


SCENARIO = """
import json
from headgate.simulate.scenario import Action, Reply, Scenario

class Shop(Scenario):
    name = "shop"
    users = 10
    seconds = 2.0
    heavy = 0.0
    slo = ["count(buy) > 20", "count(look) > 20"]

    def setup(self):
        return {"prices": [1, 2, 3]}

    def teardown(self):
        print("torn down")

    def start(self, user):
        user.data["basket"] = user.rng.choice(self.shared["prices"])

    def greet(self, user):
        return [{"type": "hello", "id": -1}]

    def think(self, user):
        return 0.02 + 0.1 * user.rng.random()

    def act(self, user, click_id, heavy):
        name = user.rng.choice(["buy", "look"])
        return Action({"type": name, "id": click_id, "basket": user.data["basket"]}, name=name)

    def read(self, user, message):
        data = json.loads(message)
        return Reply("answer", id=data["id"]) if data["id"] >= 0 else None
"""


def test_a_scenario_file(target: Target, workdir: Path) -> None:
    path = workdir / "shop.py"
    path.write_text(SCENARIO)
    report = simulate(target(), scenario=str(path), users=None, rate=None, heavy=None, seconds=None)
    assert (report.exit_code, report.problem, hard(report)) == (ExitCode.PASSED, None, {})
    assert (report.users, set(report.series)) == (10, {"buy", "buy.service", "look", "look.service"})
    assert report.counts["messages"] == report.counts["answered"] + 10


@pytest.mark.parametrize(
    ("hook", "words"),
    [(hook, "KeyError") for hook in ("act", "read", "think", "start", "greet")] + [("setup", "setup()")],
)
def test_a_scenario_that_raises_ends_the_run_with_its_traceback(
    target: Target, workdir: Path, hook: str, words: str
) -> None:
    path = workdir / "broken.py"
    arguments = {"act": "user, click_id, heavy", "read": "user, message", "setup": ""}.get(hook, "user")
    text = SCENARIO + f"\n    def {hook}(self, {arguments}):\n        return {{}}['nothing']\n"
    path.write_text(text.replace("SCENARIO", ""))
    report = simulate(target(), scenario=str(path))
    assert report.exit_code == ExitCode.SCENARIO
    assert words in (report.problem or "")
    if hook in ("act", "read", "think", "greet"):
        assert "broken.py" in (report.problem or "")
