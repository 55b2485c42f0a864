"""Which packages, and versions, a deployment uses: of requirements, pyproject.toml and installed environments."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headgate.readers.place import Place

_LINE: Final = re.compile(r"^\s*([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?([^;#@]*)")
"""A name, and what is said of its version; markers, comments and addresses come after."""
_SAID: Final = re.compile(r"(===?|~=|!=|<=|>=|<|>)\s*([\w.]+)")


@dataclass(frozen=True)
class Package:
    """A distribution.

    Args:
        name: as the index compares it.
        version: the one that is named, or the least; empty where there is none.
        least: whether a later one may be installed.
        place: where that is said.
        bound: the highest major version that may be installed; None where nothing is said.
        said: what is said of the version, as it stands.
    """

    name: str
    version: str
    least: bool
    place: Place
    bound: int | None = None
    said: str = ""

    @property
    def major(self) -> int | None:
        return _numbers(self.version)[0] if _numbers(self.version) else None

    @property
    def most(self) -> int | None:
        """The highest major version that may be installed; None for any."""
        return self.bound if self.least else self.major

    @property
    def tells(self) -> tuple[bool, int]:
        """How much is known of its version: an exact one is more than a bound, and that more than none."""
        return not self.least, bool(self.version) + (self.bound is not None)


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
        said: list[tuple[str, str]] = _SAID.findall(found.group(2))
        exact = [version for sign, version in said if sign in ("==", "===")]
        least = [version for sign, version in said if sign in (">=", ">", "~=")]
        bounds = [bound for sign, version in said if (bound := _bound(sign, version)) is not None]
        version = next(iter((*exact, *least)), "")
        text = ",".join(f"{sign}{version}" for sign, version in said)
        yield Package(normal(found.group(1)), version, not exact, place, min(bounds, default=None), text)


def _bound(sign: str, version: str) -> int | None:
    """The highest major version that one clause allows."""
    numbers = _numbers(version)
    if not numbers or sign not in ("<", "<=", "~="):
        return None
    return numbers[0] - 1 if sign == "<" and not any(numbers[1:]) else numbers[0]


def _numbers(version: str) -> list[int]:
    """The release's numbers, without what follows them."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return [int(number) for number in found.group().split(".")] if found else []
