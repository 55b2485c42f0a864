"""Puts a case before all rules, drops what was suppressed, and orders the rest."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from headgate.base.errors import ConfigError
from headgate.doctor.case import Case
from headgate.doctor.model import Finding, Severity
from headgate.doctor.rules import RULES

_COMMENT: Final = re.compile(r"#\s*headgate:\s*ignore\s+([\w, -]+?)(?:\s+[-–—:]+\s|\s*$)")


@dataclass(frozen=True)
class Examination:
    """What was found, the worst first, and what was not looked at."""

    findings: list[Finding]
    suppressed: int
    notes: list[str]

    @property
    def worst(self) -> Severity | None:
        return max((RULES[found.rule].severity for found in self.findings), default=None)


def examine(case: Case, ignored: Iterable[str] = (), base: Path = Path()) -> Examination:
    """Apply every rule.

    Args:
        case: the facts.
        ignored: ids of rules not to report.
        base: the folder that findings' paths are relative to, for comments that suppress.

    Raises:
        ConfigError: an id is no rule's.
    """
    left_out = frozenset(ignored)
    unknown = sorted(left_out - RULES.keys())
    if unknown:
        raise ConfigError(f"There is no rule {unknown[0]!r}; `headgate doctor --rules` lists them.")
    findings: list[Finding] = []
    suppressed = 0
    for rule in RULES.values():
        for found in dict.fromkeys(rule.check(case)):
            if rule.id in left_out or _ignored_here(found, base):
                suppressed += 1
            else:
                findings.append(replace(found, places=tuple(dict.fromkeys(found.places))))
    findings.sort(key=lambda found: (-RULES[found.rule].severity, RULES[found.rule].rank, str(found.places[0])))
    return Examination(findings, suppressed, case.notes)


def _ignored_here(found: Finding, base: Path) -> bool:
    """Whether the line of the decisive evidence, or the one above, says `# headgate: ignore RULE`."""
    place = found.places[0]
    if not place.line:
        return False
    try:
        lines = (base / place.path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    for line in lines[max(0, place.line - 2) : place.line]:
        match = _COMMENT.search(line)
        if match and found.rule in re.split(r"[,\s]+", match.group(1)):
            return True
    return False


def ignored_by_project(folder: Path) -> list[str]:
    """The ids in pyproject.toml's `[tool.headgate-doctor] ignore`.

    Raises:
        ConfigError: it is no list of texts.
    """
    try:
        table: Mapping[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return []
    found = table.get("tool", {}).get("headgate-doctor", {}).get("ignore", [])
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ConfigError('pyproject.toml: [tool.headgate-doctor] ignore is a list of rules, as ["missing-proxyfix"].')
    return found
