"""A Headgate under simulated users while a job worker and an app worker are killed, all users storm, and it reloads."""

from __future__ import annotations

from headgate.simulate.errors import ExitCode
from tests.process.simulate.test_docs import FILES
from tests.process.simulate.test_findings import hard, simulate
from tests.support.fixtures import StartHeadgate


def test_nothing_is_lost_by_kills_storms_and_a_reload(headgate_server: StartHeadgate) -> None:
    server = headgate_server(FILES["desk.py"])
    report = simulate(
        f"ws://127.0.0.1:{server.port}/updates",
        data=str(server.data),
        users=30,
        rate="1/user",
        heavy=0.2,
        seconds=8.0,
        drain=60.0,
        faults=["kill@1s,role=jobs", "reconnect-storm@2s,share=100%", "kill@3s,role=app", "reload@4s"],
    )
    assert (hard(report), report.problem, report.invalid) == ({}, None, [])
    assert report.exit_code == ExitCode.PASSED
    assert report.counts["reconnects"] == 30
    assert report.counts.get("disconnects", 0) == 0  # the storm was ours; the server closed nobody
    assert report.counts["results"] > 10
    texts = [mark.text for mark in report.marks]
    assert [text.split(" ")[0] for text in texts[:4]] == ["kill", "reconnect", "kill", "reload"]
    for wanted in (
        "lane queues: gateway",
        "loop lag (ms): gateway",
        "jobs: bulk.",
        "CPU (cores): app fast",
        "memory (MB): jobs",
        "blocking incidents: ",
    ):
        assert any(name.startswith(wanted) for sample in report.server for name in sample.values), wanted
