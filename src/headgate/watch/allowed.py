"""Which places may block in tests: allow-list, marker and baseline. Pure, but for reading and writing the baseline."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headgate.base.errors import ConfigError
from headgate.watch.model import Incident
from headgate.watch.wording import seconds, what


@dataclass(frozen=True)
class Place:
    """A place that blocked, as allow-lists and baselines name it: without its line, which moves."""

    file: str
    function: str
    call: str

    @classmethod
    def of(cls, incident: Incident, root: Path) -> Place:
        """The place of an incident; files below `root` by their path from there."""
        try:
            file = str(Path(incident.file).resolve().relative_to(root.resolve()))
        except ValueError:
            file = incident.file
        return cls(file, incident.function, incident.call)

    def matches(self, pattern: str) -> bool:
        """Whether a pattern (as in a shell) names the file, `file::function`, the function, or the call."""
        names = (self.file, f"{self.file}::{self.function}", self.function, self.call)
        return any(fnmatch.fnmatchcase(name, pattern) for name in names)


@dataclass(frozen=True)
class Rule:
    """One line of the allow-list."""

    pattern: str
    reason: str


def rules(lines: Sequence[str]) -> list[Rule]:
    """The allow-list.

    Raises:
        ConfigError: a line gives no reason.
    """
    found = []
    for line in lines:
        pattern, _, reason = line.rpartition(": ")
        if not pattern.strip() or not reason.strip():
            raise ConfigError(f"block_allow: {line!r} gives no reason; write 'PATTERN: why it may block'")
        found.append(Rule(pattern.strip(), reason.strip()))
    return found


class Baseline:
    """Places that were known when the baseline was written.

    Args:
        path: of its file; a missing one is empty.

    Raises:
        ConfigError: the file is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.places: set[Place] = set()
        if path.exists():
            try:
                data: Any = json.loads(path.read_text(encoding="utf-8"))
                self.places = {Place(**entry) for entry in data["places"]}
            except (ValueError, KeyError, TypeError) as exc:
                raise ConfigError(f"{path} is no baseline ({exc}); write one with --update-block-baseline") from exc

    def write(self, places: Iterable[Place]) -> None:
        """Replace the baseline by these places."""
        entries = sorted({(place.file, place.function, place.call) for place in places})
        listed = [dict(zip(("file", "function", "call"), entry, strict=True)) for entry in entries]
        self._path.write_text(json.dumps({"version": 1, "places": listed}, indent=2) + "\n", encoding="utf-8")


def complaint(incidents: Sequence[Incident]) -> str:
    """What a failed test says: each place with its line of code, and what to do."""
    lines = []
    for each in incidents:
        lines.append(f"{each.call or each.function} blocked {what(each)} for {seconds(each.seconds)} ({each.cause})")
        lines.append(f"  {each.file}:{each.number} in {each.function}")
        if each.code:
            lines.append(f"    {each.code}")
        lines.append(f"  {each.advice}")
    return "\n".join(lines)
