"""Which packages, and versions, a deployment uses: of requirements, pyproject.toml and installed environments."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headgate.readers.place import Place

_LINE: Final = re.compile(r"^\s*([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?\s*(?:(==|>=|~=)\s*([\w.]+))?")


@dataclass(frozen=True)
class Package:
    """A distribution. `version` is empty where none is named; `least` says that a later one may be installed."""

    name: str
    version: str
    least: bool
    place: Place

    @property
    def major(self) -> int | None:
        found = re.match(r"\d+", self.version)
        return int(found.group()) if found else None


def normal(name: str) -> str:
    """A distribution's name as the index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def in_requirements(path: Path, shown: str) -> Iterator[Package]:
    """The requirements of a `requirements*.txt`."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for number, line in enumerate(lines, 1):
        if line.strip() and line.strip()[0] not in "#-":
            yield from _package(line, Place(shown, number, line.strip().rstrip(" \\")))


def in_project(path: Path, shown: str) -> Iterator[Package]:
    """The dependencies of a `pyproject.toml`."""
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text).get("project", {})
    except (OSError, ValueError):
        return
    lines = text.splitlines()
    for requirement in table.get("dependencies", []):
        line = next((number for number, each in enumerate(lines, 1) if requirement in each), 1)
        yield from _package(requirement, Place(shown, line, requirement))


def installed(site: Path, shown: str) -> Iterator[Package]:
    """What lies in a `site-packages` folder."""
    for info in sorted(site.glob("*.dist-info")):
        name, dash, version = info.name.removesuffix(".dist-info").rpartition("-")
        if dash:
            yield Package(normal(name), version, False, Place(f"{shown}/{info.name}", 0, f"{name} {version}"))


def _package(text: str, place: Place) -> Iterator[Package]:
    found = _LINE.match(text)
    if found:
        yield Package(normal(found.group(1)), found.group(3) or "", found.group(2) != "==", place)
