"""The server on the timeline, and the faults that hit it: with a stand-in for the supervisor."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from headgate.simulate.errors import BadInput, ExitCode
from tests.process.simulate.test_findings import hard, simulate
from tests.support.process import Process

Target = Callable[..., str]
HERE = Path(__file__).parent


@pytest.fixture
def url(target: Target, workdir: Path) -> Iterator[str]:
    """A target that belongs to a (stand-in) Headgate with the data folder `workdir/data`."""
    found = target()
    (workdir / "data" / "run").mkdir(parents=True)
    command = [sys.executable, str(HERE / "supervisor.py"), str(workdir / "data"), str(urlsplit(found).port)]
    process = Process("supervisor", command, workdir)
    try:
        process.wait_ready((workdir / "data" / "run" / "control.sock").exists)
        yield found
    finally:
        process.stop()


def test_the_servers_numbers_are_on_the_timeline(url: str, workdir: Path) -> None:
    report = simulate(url, data=str(workdir / "data"))
    assert report.exit_code == ExitCode.PASSED
    assert len(report.server) >= 2
    values = report.server[-1].values
    assert values["memory (MB): app fast"] == 50
    assert values["CPU (cores): app fast"] > 0
    assert values["jobs: default.queued"] == 3
    assert values["waiting: app fast waiting"] > report.server[0].values["waiting: app fast waiting"]
    assert not any("requests" in name for name in values)


def test_a_role_is_killed_and_the_code_reloaded_in_mid_run(url: str, workdir: Path) -> None:
    faults = ["kill@500ms,role=app", "reload@1s"]
    report = simulate(url, data=str(workdir / "data"), faults=faults)
    texts = [mark.text for mark in report.marks]
    assert texts[0].startswith("kill -9 of app.fast.0 (pid ")
    assert texts[1:] == ["reload begins", "the new generation serves"]
    assert (report.exit_code, hard(report)) == (ExitCode.PASSED, {})


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        (["kill@500ms,role=gateway"], "no gateway process runs there (there are: app)"),
        (["reload@300ms", "reload@1s"], "the new code does not start"),
    ],
)
def test_a_fault_that_cannot_be_caused_makes_the_run_invalid(
    url: str, workdir: Path, faults: list[str], words: str
) -> None:
    report = simulate(url, data=str(workdir / "data"), faults=faults)
    assert report.exit_code == ExitCode.INVALID
    assert words in report.invalid[0]


def test_faults_without_a_headgate_are_refused(target: Target, workdir: Path) -> None:
    with pytest.raises(BadInput, match="name the folder of the running one"):
        simulate(target(), data=str(workdir), faults=["reload@1s"])


def test_slow_uploads_are_sent_and_their_end_is_counted(target: Target) -> None:
    url = target("http_target.py").replace("ws://", "http://")
    report = simulate(url, heavy=0.0, faults=["slow-uploads@300ms,count=3,for=1s,bytes=5000,path=/up"])
    assert report.counts["slow_uploads.2xx"] == 3
    assert [mark.text for mark in report.marks] == ["3 slow uploads for 1 s"]
    assert report.counts["answered"] == report.counts["clicks"]
