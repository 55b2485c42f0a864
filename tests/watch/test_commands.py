"""`headgate watch` as its users meet it: services of several processes, signals, metrics, top, attach."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headgate.watch import journal
from headgate.watch.model import Incident
from tests.support.process import Process
from tests.support.wait import free_port, until

SERVICE = """
import asyncio, multiprocessing, os, signal, sys, time

def block():
    time.sleep(0.4)

async def serve(name):
    print("serving", name, os.getpid(), flush=True)
    for _ in range(200):
        await asyncio.sleep(0.05)
        block()

def worker(name):
    asyncio.run(serve(name))

if __name__ == "__main__":
    children = []
    if not os.fork():
        worker("forked")
        os._exit(0)
    spawned = multiprocessing.get_context("spawn").Process(target=worker, args=["spawned"], daemon=True)
    spawned.start()

    def end(*_):
        print("told to end", flush=True)
        spawned.kill()
        sys.exit(7)

    signal.signal(signal.SIGTERM, end)
    worker("first")
"""


@pytest.fixture
def service(workdir: Path) -> Iterator[Process]:
    """Three processes that block: the first, a forked one, a spawned one; with metrics."""
    (workdir / "service.py").write_text(SERVICE)
    port = free_port()
    (workdir / "port").write_text(str(port))
    flags = ["--folder", "watched", "--metrics", f"127.0.0.1:{port}"]
    command = [sys.executable, "-m", "headgate", "watch", "run", *flags, "--", sys.executable, "service.py"]
    process = Process("service", command, workdir)
    try:
        yield process
    finally:
        process.stop()


def incidents(folder: Path) -> list[Incident]:
    return list(journal.read(folder / "watched"))


def headgate(folder: Path, *arguments: str) -> str:
    """Run a command; returns what it printed."""
    command = [sys.executable, "-m", "headgate", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_forked_and_spawned_processes_are_watched_and_shown_everywhere(service: Process, workdir: Path) -> None:
    until(lambda: len({each.pid for each in incidents(workdir)}) == 3, "incidents of all three processes", 60)
    assert {(each.call, each.function, each.number) for each in incidents(workdir)} == {("time.sleep", "block", 5)}
    shown = headgate(workdir, "watch", "top", "--once", "watched")
    assert shown.count("asyncio") >= 3
    assert "time.sleep" in shown
    headgate(workdir, "watch", "report", "watched", "-o", "page.html")
    assert "time.sleep" in (workdir / "page.html").read_text()
    assert "time.sleep" in headgate(workdir, "watch", "report", "watched", "--text", "--since", "1h")
    port = (workdir / "port").read_text()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    families = {family.name: family for family in text_string_to_metric_families(page)}
    counted = families["headgate_watch_incidents"].samples
    assert {sample.labels["cause"] for sample in counted} == {"blocking call"}
    assert len({sample.labels["pid"] for sample in counted}) == 3
    service.popen.send_signal(signal.SIGTERM)
    assert service.popen.wait(30) == 7, "the command's own exit code"
    assert "told to end" in service.log()
    assert "the page: headgate watch report watched" in service.log()


def test_a_running_process_is_named_without_having_been_prepared(workdir: Path) -> None:
    (workdir / "plain.py").write_text(SERVICE.replace("if not os.fork()", "if False").replace("spawned.start()", ""))
    plain = Process("plain", [sys.executable, "plain.py"], workdir)
    try:
        plain.wait_ready(lambda: "serving first" in plain.log(), 60)
        text = headgate(workdir, "watch", "attach", str(plain.pid), "--for", "4s", "--threshold", "200ms")
    finally:
        plain.kill()
    assert "`time.sleep` blocked the asyncio loop" in text
    assert "plain.py:5" in text


def test_what_is_no_python_is_told(workdir: Path) -> None:
    command = [sys.executable, "-m", "headgate", "watch", "run", "--folder", "watched", "--", "sh", "-c", "exit 3"]
    done = subprocess.run(command, cwd=workdir, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert "no loop ran under watch" in done.stderr
    command[-3:] = ["no-such-program-at-all"]
    done = subprocess.run(command, cwd=workdir, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "no-such-program-at-all cannot be started" in done.stderr


HELD = """
import asyncio
def hold():
    return 3 ** 60_000_000
async def main():
    await asyncio.sleep(0.5)
    print("holding", flush=True)
    hold()
asyncio.run(main())
"""


def test_a_process_that_is_killed_in_a_stall_that_only_the_observer_sees_is_told_of(workdir: Path) -> None:
    for number in range(3):  # the observer samples: on a crowded machine the kill may come before its first look
        folder = workdir / str(number)
        folder.mkdir()
        if told_of_a_kill(folder):
            return
    raise AssertionError("killed three times, and never told of")


def told_of_a_kill(workdir: Path) -> bool:
    (workdir / "held.py").write_text(HELD)
    command = [sys.executable, "-m", "headgate", "watch", "run", "--folder", "watched", "--", sys.executable, "held.py"]
    process = Process("held", command, workdir)
    try:
        seen = workdir / "watched"
        process.wait_ready(lambda: any("hold" in path.read_text() for path in seen.glob("*.seen")), 60)
        (board,) = seen.glob("*.board")
        subprocess.run(["kill", "-9", board.stem], check=True)
        assert process.popen.wait(30) == 128 + 9
    finally:
        process.stop()
    found = [each for each in incidents(workdir) if each.unfinished and each.outside]
    for incident in found:
        assert (incident.function, incident.call, incident.cause) == ("hold", "3 ** 60_000_000", "computing")
        assert "died while" in process.log()
    return bool(found)


INTERRUPTED = """
import os, signal, sys
signal.alarm(90)
signal.signal(signal.SIGINT, lambda *_: print("interrupted", flush=True))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
print("ready", os.getpid(), flush=True)
while True:
    signal.pause()
"""


def command_pid(log: Path) -> int:
    """The number of the command's process, once it is ready."""
    found = re.search(r"ready (\d+)", log.read_text())
    return int(found[1]) if found else 0


def test_an_interrupt_reaches_the_command_once_with_a_terminal_and_without(workdir: Path) -> None:
    (workdir / "command.py").write_text(INTERRUPTED)
    watched = ["-m", "headgate", "watch", "run", "--folder", "watched", "--", sys.executable, "command.py"]
    on_terminal = ["-c", "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)", sys.executable, *watched]
    for arguments in (watched, on_terminal):
        log = workdir / f"{len(arguments)}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=workdir,
                start_new_session=True,
            )
        assert popen.stdin is not None
        try:
            pid = until(partial(command_pid, log), "the command", 60)
            if arguments is watched:
                popen.send_signal(signal.SIGINT)
            else:
                popen.stdin.write(b"\x03")
                popen.stdin.flush()
            until(lambda: "interrupted" in log.read_text(), "the interrupt", 30)  # noqa: B023
            os.kill(pid, signal.SIGTERM)
            assert popen.wait(30) == 3
        finally:
            popen.kill()
            popen.stdin.close()
            popen.wait(30)
        assert log.read_text().count("interrupted") == 1
