"""The how-to page's commands, twenty times as short, on the app that it shows; the reference names all options."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from headgate.cli.simulate import simulate
from headgate.simulate.errors import ExitCode
from headgate.simulate.report import Report
from tests.docs.pages import ROOT, blocks
from tests.support.fixtures import StartHeadgate
from tests.support.process import Process
from tests.support.wait import accepts, free_port

PAGE = ROOT / "docs/how-to/simulate-load.md"
REFERENCE = ROOT / "docs/reference/simulate.md"
HERE = Path(__file__).parent
FILES = {block.value: block.text for block in blocks(PAGE) if block.directive == "file"}
COMMANDS = [command for block in blocks(PAGE) if block.shell for command in block.commands() if " simulate " in command]
SERVERS = {"socketio": "socketio_target.py", "http://": "http_target.py"}


def shortened(command: str, port: int) -> str:
    """The same command with its times divided by twenty, its users by ten, and its target here."""
    command = re.sub(r"(\d+)s\b", lambda match: f"{int(match[1]) * 50}ms", command)
    command = re.sub(r"--users (\d+)", lambda match: f"--users {int(match[1]) // 10}", command)
    command = re.sub(r":(\d{2,3})\b(?!\.)(?= |$)", lambda match: f":{max(int(match[1]) // 10, 1)}", command)
    command = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", command)
    return command if "--for" in command or "--stage" in command else f"{command} --for 2s"


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = command.replace("headgate ", f"{sys.executable} -m headgate ", 1)
    return subprocess.run(["bash", "-c", words], cwd=folder, capture_output=True, text=True, timeout=90, check=False)


def measured(done: subprocess.CompletedProcess[str]) -> None:
    """It ran and measured. Whether the objectives were met on this busy machine is not the question."""
    text = done.stdout + done.stderr
    assert done.returncode in (ExitCode.PASSED, ExitCode.FAILED, ExitCode.INVALID), text
    assert "lost 0 · duplicated 0 · out_of_order 0" in text
    assert not re.search(r"answered 0\b", text)


@pytest.fixture
def folder(workdir: Path) -> Path:
    for name, text in FILES.items():
        (workdir / name).write_text(text)
    return workdir


@pytest.mark.parametrize("command", [c for c in COMMANDS if "/updates" in c])
def test_commands_on_headgate(command: str, folder: Path, headgate_server: StartHeadgate) -> None:
    server = headgate_server(FILES["desk.py"])
    text = shortened(command, server.port)
    measured(run(text.replace("--data .headgate", f"--data {server.data}"), folder))


@pytest.mark.parametrize("command", [c for c in COMMANDS if ":5000" in c])
def test_commands_on_others(command: str, folder: Path) -> None:
    port = free_port()
    script = next(script for word, script in SERVERS.items() if word in command)
    process = Process("other", [sys.executable, str(HERE / script), str(port), "{}"], folder)
    try:
        process.wait_ready(lambda: accepts(port))
        measured(run(shortened(command, port), folder))
    finally:
        process.kill()  # uvicorn would wait for polls that nobody ends


def test_every_command_is_tried() -> None:
    tried = [c for c in COMMANDS if "/updates" in c or ":5000" in c]
    assert [c for c in COMMANDS if c not in tried] == [c for c in COMMANDS if "--compare" in c]
    assert len(tried) >= 8


def test_the_reference_names_every_option_and_exit_code() -> None:
    text = REFERENCE.read_text()
    flags: list[str] = [
        flag for p in simulate.params if isinstance(p, click.Option) for flag in (*p.opts, *p.secondary_opts)
    ]
    assert [flag for flag in flags if f"`{flag}" not in text] == []
    table = re.findall(r"^\| (\d+) \|", text, re.MULTILINE)
    assert {int(code) for code in table} == {int(code) for code in ExitCode}


def test_the_reference_names_every_field_of_the_report() -> None:
    text = REFERENCE.read_text().split("## The JSON report")[1]
    assert [
        name for name in Report.__struct_fields__ if f"`{name}`" not in text and name not in ("format", "headgate")
    ] == []
