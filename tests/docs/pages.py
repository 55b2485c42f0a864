"""The documents as data: their blocks with the directives above them, their links and their headings.

A directive is an HTML comment right above a fenced block, unseen by readers:

    <!-- file: shop.py -->      the block is that file
    <!-- serve -->              a command that stays: started, and waited for until it is ready
    <!-- background -->         a command of another terminal, which runs until the page's end
    <!-- run -->                commands that end with success
    <!-- output -->             lines that the command before has printed, in this order; … stands for anything
    <!-- browser: STEPS -->     what the reader does in the page (see player.py); needs no block
    <!-- not run: REASON -->    why not
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
SHELL = {"sh", "bash", "console", "shell"}

_DIRECTIVE = re.compile(r"<!--\s*(file|serve|background|run|output|browser|not run)\s*(?::\s*(.*?))?\s*-->$")
_FENCE = re.compile(r"(\s*)(```+|~~~+)\s*(\w*)")
_LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")


@dataclass(frozen=True)
class Block:
    """One fenced block, or a directive that needs none."""

    page: Path
    line: int
    language: str
    text: str
    directive: str | None = None
    value: str = ""

    @property
    def where(self) -> str:
        return f"{name(self.page)}:{self.line}"

    @property
    def shell(self) -> bool:
        """Whether it shows commands, by its language or, for want of one, by what it begins with."""
        begins = self.text.lstrip().startswith(("$ ", "headgate ", "make "))
        return self.language in SHELL or (not self.language and self.directive != "output" and begins)

    def commands(self) -> list[str]:
        """The shell commands of the block: comments fall out, continued lines are joined, a prompt is dropped."""
        joined = self.text.replace("\\\n", " ")
        lines = (line.strip().removeprefix("$ ") for line in joined.splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def name(page: Path) -> str:
    """A page as it is called in messages."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    """All blocks and directives of a page, in order."""
    return list(_scan(page))


def _scan(page: Path) -> Iterator[Block]:
    directive: tuple[str, str] | None = None
    lines = iter(enumerate(page.read_text().splitlines(), 1))
    for number, line in lines:
        if found := _DIRECTIVE.match(line.strip()):
            directive = (found[1], found[2] or "")
            if found[1] == "browser":
                yield Block(page, number, "", "", *directive)
                directive = None
        elif fence := _FENCE.match(line):
            text = _fenced(lines, fence[1], fence[2])
            yield Block(page, number, fence[3], text, *(directive or (None, "")))
            directive = None
        elif line.strip():
            directive = None


def _fenced(lines: Iterator[tuple[int, str]], indent: str, fence: str) -> str:
    inside = []
    for _, line in lines:
        if line.strip() == fence:
            break
        inside.append(line.removeprefix(indent))
    return "".join(f"{line}\n" for line in inside)


def prose(page: Path) -> str:
    """The page without its fenced blocks: links and headings in code are none."""
    kept, inside = [], False
    for line in page.read_text().splitlines():
        if line.lstrip().startswith(("```", "~~~")):
            inside = not inside
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def links(page: Path) -> list[str]:
    """The targets of all links and pictures of a page."""
    return _LINK.findall(re.sub(r"`[^`\n]*`", "", prose(page)))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the page's headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", prose(page), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.replace("`", ""))
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number = 0
        while (candidate := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(candidate)
    return found
