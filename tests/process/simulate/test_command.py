"""`headgate simulate` as a command: exit codes, messages, files, Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from headgate.simulate.errors import ExitCode
from headgate.simulate.report import read_report
from tests.support.marked import bearers, new_mark
from tests.support.process import Process
from tests.support.wait import free_port, until

Target = Callable[..., str]
COMMAND = [sys.executable, "-c", "from headgate.cli.main import main; main()", "simulate"]
SHORT = ["--users", "10", "--rate", "5/user", "--for", "1s", "--drain", "1s", "--max-lag", "30s"]


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def test_a_run_that_passes_writes_all_its_reports(target: Target, workdir: Path) -> None:
    files = ["--json", "r.json", "--html", "r.html", "--junit", "r.xml", "--prometheus", "r.prom"]
    done = command(target(), *SHORT, "--slo", "p99(click) < 30s", *files, cwd=workdir)
    assert (done.returncode, "PASSED" in done.stdout) == (0, True), done.stderr
    assert read_report(workdir / "r.json").passed
    assert ElementTree.parse(workdir / "r.xml").getroot().get("failures") == "0"
    assert "<!doctype html>" in (workdir / "r.html").read_text()
    assert "headgate_simulate_passed" in (workdir / "r.prom").read_text()


def test_a_missed_objective_is_exit_code_1(target: Target, workdir: Path) -> None:
    done = command(target(), *SHORT, "--slo", "p50(click) < 1us", cwd=workdir)
    assert done.returncode == ExitCode.FAILED
    assert "✗ p50(click) < 1us" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a target"),
        (["localhost"], "must be a URL"),
        (["ws://127.0.0.1:1/", "--rate", "fast"], "rate 'fast'"),
        (["ws://127.0.0.1:1/", "--heavy", "lots"], "--heavy 'lots'"),
        (["ws://127.0.0.1:1/", "--slo", "p99(click) < 0ms"], "can never be met"),
        (["ws://127.0.0.1:1/", "--header", "what"], "--header 'what'"),
        (["ws://127.0.0.1:1/", "--param", "what"], "--param 'what'"),
        (["--compare", "a.json", "b.json"], "cannot be read"),
        (["ws://127.0.0.1:1/", "--compare", "a.json", "b.json"], "leave the target out"),
    ],
)
def test_bad_input_is_exit_code_2_and_says_why(arguments: list[str], words: str, workdir: Path) -> None:
    done = command(*arguments, cwd=workdir)
    assert done.returncode == ExitCode.BAD_INPUT
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_saturated_generator_is_exit_code_3(target: Target, workdir: Path) -> None:
    (workdir / "heavy.py").write_text(
        "import time\nfrom headgate.simulate.builtin import Clicks\n\n"
        "class Burner(Clicks):\n    def act(self, user, click_id, heavy):\n"
        "        until = time.monotonic() + 0.02\n        while time.monotonic() < until: pass\n"
        "        return super().act(user, click_id, heavy)\n"
    )
    load = ["--users", "50", "--rate", "4/user", "--for", "2s", "--drain", "20s"]
    done = command(target(), "--scenario", "heavy.py", *load, "--json", "r.json", cwd=workdir)
    assert done.returncode == ExitCode.INVALID, done.stderr
    assert "the generator was late" in done.stdout
    report = read_report(workdir / "r.json")
    assert report.generator.lag_p99 > 0.5
    assert report.counts["answered"] == report.counts["clicks"]


@pytest.mark.parametrize(
    ("plants", "words"),
    [
        (None, "nothing listens on 127.0.0.1:"),
        ({"mute": True}, "answered none of them"),
        ({"babble": True}, "speak the scenario's format"),
        ({"refuse": 404}, "refused the WebSocket handshake with HTTP 404: go away"),
        ({"deaf": True}, "did not answer the WebSocket handshake within 1 s"),
    ],
)
def test_a_target_that_does_not_serve_is_exit_code_4(
    target: Target, workdir: Path, plants: dict[str, object] | None, words: str
) -> None:
    url = target(**plants) if plants is not None else f"ws://127.0.0.1:{free_port()}/"
    done = command(url, *SHORT, "--timeout", "1s", "--json", "r.json", cwd=workdir)
    assert done.returncode == ExitCode.TARGET
    assert words in done.stdout.replace("\n", " ")
    assert words in (read_report(workdir / "r.json").problem or "")


def test_an_unknown_host_is_exit_code_4(workdir: Path) -> None:
    done = command("ws://no-such-host.invalid/", *SHORT, cwd=workdir)
    assert done.returncode == ExitCode.TARGET
    assert "cannot be resolved" in done.stdout


def test_a_scenario_that_raises_is_exit_code_5(target: Target, workdir: Path) -> None:
    (workdir / "broken.py").write_text(
        "import sys\nfrom headgate.simulate.builtin import Clicks\n\n"
        "class Broken(Clicks):\n    def read(self, user, message):\n"
        "        print('printed by the scenario')\n        raise RuntimeError('my own mistake')\n"
    )
    done = command(target(), "--scenario", "broken.py", *SHORT, "--json", "r.json", cwd=workdir)
    assert done.returncode == ExitCode.SCENARIO
    assert "my own mistake" in done.stdout
    assert "printed by the scenario" in done.stderr
    assert read_report(workdir / "r.json").counts["sent"] > 0


def test_a_generator_process_that_dies_is_exit_code_3_with_what_the_others_measured(
    target: Target, workdir: Path
) -> None:
    (workdir / "dies.py").write_text(
        "import os\nfrom headgate.simulate.builtin import Clicks\n\n"
        "class Dies(Clicks):\n    def act(self, user, click_id, heavy):\n"
        "        if user.number == 1: os._exit(9)\n        return super().act(user, click_id, heavy)\n"
    )
    done = command(target(), "--scenario", "dies.py", *SHORT, "--processes", "2", "--json", "r.json", cwd=workdir)
    assert done.returncode == ExitCode.INVALID
    assert "generator process 1 ended early (exit code 9)" in done.stdout
    assert read_report(workdir / "r.json").counts["answered"] > 0


@pytest.mark.parametrize("order", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_writes_a_partial_report(target: Target, workdir: Path, order: signal.Signals) -> None:
    slow = ["--users", "10", "--rate", "5/user", "--heavy", "50%", "--for", "10m"]
    arguments = [target(delay=30), *slow, "--json", "r.json", "--live"]
    process = Process("simulate", [*COMMAND, *arguments], workdir)
    try:
        until(lambda: "running" in process.log(), "the live view says that it runs", 30)
        assert process.stop(order, 30) == ExitCode.INTERRUPTED
    finally:
        process.kill()
    report = read_report(workdir / "r.json")
    assert report.interrupted
    assert report.lost == 0  # what was under way was cut off by us
    assert report.counts["clicks"] > 0
    assert 0 < report.seconds < 60
    assert "partial report" in (report.problem or "")


def test_an_interrupt_while_connecting_ends_at_once(target: Target, workdir: Path) -> None:
    arguments = [target(deaf=True), "--users", "10", "--timeout", "5m", "--json", "r.json", "--live"]
    process = Process("simulate", [*COMMAND, *arguments], workdir)
    try:
        until(lambda: "connecting" in process.log(), "the live view says that it connects", 30)
        assert process.stop(signal.SIGINT, 30) == ExitCode.INTERRUPTED
    finally:
        process.kill()
    assert read_report(workdir / "r.json").counts.get("clicks", 0) == 0


def test_a_scenario_that_hangs_does_not_hold_up_an_interrupt(target: Target, workdir: Path) -> None:
    (workdir / "hangs.py").write_text(
        "import pathlib, time\nfrom headgate.simulate.builtin import Clicks\n\n"
        "class Hangs(Clicks):\n    def act(self, user, click_id, heavy):\n"
        "        pathlib.Path('hung').touch()\n        time.sleep(3600)\n"
    )
    arguments = [target(), "--scenario", "hangs.py", "--users", "10", "--rate", "5/user", "--json", "r.json"]
    process = Process("simulate", [*COMMAND, *arguments], workdir)
    try:
        until((workdir / "hung").exists, "the scenario hangs", 30)
        assert process.stop(signal.SIGINT, 60) == ExitCode.INTERRUPTED
    finally:
        process.kill()
    assert "hangs and was killed" in read_report(workdir / "r.json").invalid[0]


@pytest.mark.parametrize("hook", ["pass", "__import__('time').sleep(3600)"], ids=["runs", "hangs"])
def test_generator_processes_end_with_a_killed_parent(target: Target, workdir: Path, hook: str) -> None:
    mark = new_mark()
    (workdir / "mine.py").write_text(
        "import pathlib\nfrom headgate.simulate.builtin import Clicks\n\n"
        "class Mine(Clicks):\n    def act(self, user, click_id, heavy):\n"
        f"        pathlib.Path('clicked').touch()\n        {hook}\n        return super().act(user, click_id, heavy)\n"
    )
    load = ["--users", "10", "--rate", "5/user", "--for", "10m", "--processes", "2"]
    process = Process("simulate", [*COMMAND, target(), "--scenario", "mine.py", *load], workdir, env=mark)
    until((workdir / "clicked").exists, "the users click", 30)
    assert len(bearers(mark)) >= 3
    process.kill()
    until(lambda: not bearers(mark), "the generators have ended", 30)


def test_two_reports_are_compared(target: Target, workdir: Path) -> None:
    url = target()
    for name in ("a.json", "b.json"):
        assert command(url, *SHORT, "--seed", "7", "--json", name, cwd=workdir).returncode == 0
    done = command("--compare", "a.json", "b.json", "--html", "c.html", cwd=workdir)
    assert done.returncode == 0, done.stderr
    assert "p99 click" in done.stdout
    assert "not the same experiment" not in done.stdout
    assert "Two runs side by side" in (workdir / "c.html").read_text()
    one, two = (json.loads((workdir / name).read_text()) for name in ("a.json", "b.json"))
    assert one["counts"]["clicks"] == two["counts"]["clicks"]


def test_a_file_that_cannot_be_written_is_said_before_the_run(target: Target, workdir: Path) -> None:
    done = command(target(), *SHORT, "--html", "nowhere/r.html", cwd=workdir)
    assert done.returncode == ExitCode.BAD_INPUT
    assert "the folder nowhere does not exist" in done.stderr


@pytest.mark.parametrize(("module", "option"), [("hdrh", "--json"), ("jinja2", "--html")])
def test_a_missing_extra_is_explained(workdir: Path, module: str, option: str) -> None:
    without = f"import sys; sys.modules[{module!r}] = None; from headgate.cli.main import main; main()"
    words = [sys.executable, "-c", without, "simulate", "ws://127.0.0.1:1/", option, "out"]
    done = subprocess.run(words, cwd=workdir, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == ExitCode.BAD_INPUT
    assert "pip install 'headgate[simulate]'" in done.stderr


def test_the_help_names_the_exit_codes(workdir: Path) -> None:
    done = command("--help", cwd=workdir)
    assert done.returncode == 0
    assert "130 interrupted" in " ".join(done.stdout.split())
