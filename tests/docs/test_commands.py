"""Every command in the documents is run by a test, or listed with the reason why not; all of them exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from headgate.cli.main import cli
from tests.docs.pages import PAGES, ROOT, Block, blocks, name

LISTED = {
    "CONTRIBUTING.md": "what contributors and continuous integration run themselves",
    "docs/how-to/simulate-load.md": "tests of the simulator run its command",
    "docs/reference/benchmarks.md": "benchmarks are run by `make bench`",
    "docs/reference/cli.md": "made from the command line itself",
    "docs/reference/settings.md": "made from the settings themselves",
    "docs/reference/simulate.md": "tests of the simulator run its command",
}
"""Pages whose commands are not played, and why; that each command exists is tested all the same."""

MAKE = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
OTHERS = {
    ".",
    "cd",
    "celery",
    "cp",
    "dnf",
    "firewall-cmd",
    "curl",
    "export",
    "journalctl",
    "kill",
    "mkdir",
    "mv",
    "pip",
    "python",
    "python3",
    "python3.12",
    "rq",
    "semodule",
    "systemctl",
    "touch",
    "until",
}


def shell_blocks() -> list[Block]:
    return [block for page in PAGES for block in blocks(page) if block.shell]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_is_run_or_listed(page: Path) -> None:
    found = [block for block in blocks(page) if block.shell]
    silent = [block for block in found if block.directive not in ("run", "serve", "background", "not run")]
    unexplained = [block for block in found if block.directive == "not run" and len(block.value) < 10]
    assert [block.where for block in unexplained] == [], "`not run` wants its reason"
    if name(page) not in LISTED:
        assert [block.where for block in silent] == []


@pytest.mark.parametrize("block", shell_blocks(), ids=lambda block: block.where)
def test_commands_exist(block: Block) -> None:
    for command in block.commands():
        words = shlex.split(re.sub(r"\$\(.*\)", "ID", command).split(" | ")[0], comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if words:
            check(words, f"{block.where}: {command}")


def check(words: list[str], where: str) -> None:
    program = re.sub(r"^(?:.*/)?\.?venv/bin/", "", words[0])
    if program == "headgate":
        check_headgate(words[1:], where)
    elif program == "make":
        targets = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
        assert set(targets) <= MAKE, where
    else:
        assert program in OTHERS, f"{where}: {program} is not known here"


def check_headgate(words: list[str], where: str) -> None:
    """The command is in the command line, with every flag that is given to it."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"{where}: there is no command {words[0]!r}"
        command, words = found, words[1:]
    words = words[: words.index("--")] if "--" in words else words  # what follows is another program's
    flags = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)} | {"--help"}
    used = {word.split("=")[0] for word in words if word.startswith("--") and word != "--"}
    assert used <= flags, f"{where}: {sorted(used - flags)} are no flags of it"
