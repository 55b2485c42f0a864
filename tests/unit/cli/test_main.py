"""The command line itself: what it loads, what it lists, how it complains."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from headgate.cli.lazy import LazyGroup
from headgate.cli.main import COMMANDS, cli


def headgate(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headgate", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def test_help_lists_the_commands_and_loads_none(tmp_path: Path) -> None:
    code = (
        "import sys, json\nfrom headgate.cli.main import cli\n"
        "try: cli.main(['--help'], prog_name='headgate')\nexcept SystemExit: pass\n"
        "print(json.dumps([name for name in sys.modules if name.startswith(('headgate.', 'rich'))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    *shown, loaded = done.stdout.splitlines()
    text = " ".join(" ".join(shown).split())
    assert all(f"{name} {line}" in text for name, (_, line) in COMMANDS.items())
    assert set(json.loads(loaded)) <= {
        "headgate.cli",
        "headgate.cli.main",
        "headgate.cli.console",
        "headgate.cli.lazy",
        "headgate.base",
        "headgate.base.errors",
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_has_help(name: str) -> None:
    group = cli
    assert isinstance(group, LazyGroup)
    command = group.get_command(click.Context(group), name)
    assert command is not None
    assert command.name == name
    assert command.help


def test_running_needs_no_table_library(tmp_path: Path) -> None:
    names = "(name for name in sys.modules if name.startswith('rich'))"
    code = f"import sys, headgate.cli.run, headgate.supervisor.loop; print(*{names})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "", "what `headgate run` loads before it starts processes"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["run"], 2, "No app was named."),
        (["run", "app.py"], 2, '"app.py" is a file.'),
        (["run", "a:b", "--threads", "many"], 2, "flag --threads: threads is 'many', which is not a whole number."),
        (["run", "a:b", "--bind", "80"], 2, 'bind "80" is not an address.'),
        (["run", "a:b", "--bind", ":80000"], 2, "a port is at most 65535"),
        (["run", "a:b", "--data", "/dev/null"], 2, "/dev/null is a file"),
        (["status"], 1, "No Headgate runs on the data folder"),
        (["reload"], 1, "No Headgate runs on the data folder"),
        (["stop"], 1, "No Headgate runs on the data folder"),
        (["jobs", "ls", "--broker", "carrier-pigeon"], 2, "carrier-pigeon"),
    ],
)
def test_an_error_is_one_message_without_a_traceback(
    arguments: list[str], code: int, told: str, tmp_path: Path
) -> None:
    done = headgate(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("headgate: ")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_command_is_a_usage_error(tmp_path: Path) -> None:
    done = headgate("fly", cwd=tmp_path)
    assert done.returncode == 2
    assert "No such command 'fly'" in done.stderr


@pytest.mark.parametrize("flag", ["--port", "--host", "-p", "-k"])
def test_other_servers_flags_are_known(flag: str, tmp_path: Path) -> None:
    done = headgate("run", "app:app", flag, "x", cwd=tmp_path)
    assert done.returncode == 2
    assert f"No such option: {flag}; " in done.stderr


def test_settings_files_are_read_where_chdir_leads(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there/headgate.toml").write_text("jbos = 1\n")
    done = headgate("config", "--chdir", "there", cwd=tmp_path)
    assert done.returncode == 2
    assert 'headgate.toml: there is no setting "jbos". Did you mean "jobs"?' in done.stderr


def test_config_shows_what_is_set_and_from_where(tmp_path: Path) -> None:
    (tmp_path / "headgate.toml").write_text('max_body = "1MiB"\nsecret = "open sesame"\n')
    done = headgate("config", "--set", "--threads", "3", cwd=tmp_path)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["threads", "3", "flag", "--threads"] in rows
    assert ["max_body", "1", "MiB", "headgate.toml"] in rows
    assert "open sesame" not in done.stdout
    assert "(hidden)" in done.stdout
    assert "workers" not in done.stdout


def test_version(tmp_path: Path) -> None:
    done = headgate("version", cwd=tmp_path)
    assert done.stdout.startswith("headgate 0.")
    assert "uvicorn " in done.stdout


def _options(command: click.Command) -> list[str]:
    shown = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    return [name for each in shown for name in each.opts]


def test_the_reference_page_names_every_command_and_flag() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/reference/cli.md").read_text()
    group = cli
    assert isinstance(group, LazyGroup)
    context = click.Context(group)
    for name in [name for name in COMMANDS if name != "simulate"]:
        command = group.get_command(context, name)
        assert command is not None
        assert f"## `headgate {name}" in page
        section = page.partition(f"## `headgate {name}")[2].partition("\n## ")[0]
        assert [flag for flag in _options(command) if f"`{flag}" not in section] == []
        for inner in command.commands.values() if isinstance(command, click.Group) else ():
            assert f"`headgate {name} {inner.name}" in section
            assert [flag for flag in _options(inner) if f"`{flag}" not in section] == []
