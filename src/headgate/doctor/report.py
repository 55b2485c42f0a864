"""An examination as text for programs: JSON and SARIF 2.1.0 (OASIS)."""

from __future__ import annotations

from typing import Any, Final

from headgate.doctor.examine import Examination
from headgate.doctor.model import Finding, Rule, Severity
from headgate.doctor.rules import RULES

_LEVELS: Final = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}


def as_json(examined: Examination) -> dict[str, Any]:
    """Everything, as plain values."""
    return {
        "findings": [_plain(found, RULES[found.rule]) for found in examined.findings],
        "suppressed": examined.suppressed,
        "notes": examined.notes,
    }


def _plain(found: Finding, rule: Rule) -> dict[str, Any]:
    return {
        "rule": rule.id,
        "severity": str(rule.severity),
        "title": rule.title,
        "message": found.message,
        "why": rule.why,
        "fix": found.fix or rule.fix,
        "diff": diff(found),
        "source": rule.source,
        "places": [{"path": place.path, "line": place.line, "text": place.text} for place in found.places],
    }


def diff(found: Finding) -> str:
    """The one-line fix as a unified diff; empty where there is none."""
    change = found.change
    if change is None or not change.place.line:
        return ""
    path, line = change.place.path, change.place.line
    added = change.new.split("\n")
    removed = change.old.split("\n") if change.old else []
    # Without an old line, the new ones come after the place.
    at = f"-{line},{len(removed)} +{line if removed else line + 1},{len(added)}"
    body = [*(f"-{text}" for text in removed), *(f"+{text}" for text in added)]
    return "\n".join([f"--- a/{path}", f"+++ b/{path}", f"@@ {at} @@", *body])


def as_sarif(examined: Examination, version: str) -> dict[str, Any]:
    """For code scanners and editors."""
    used = list(dict.fromkeys(found.rule for found in examined.findings))
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "headgate doctor",
                        "version": version,
                        "rules": [_sarif_rule(RULES[each]) for each in used],
                    }
                },
                "results": [_result(found, used.index(found.rule)) for found in examined.findings],
            }
        ],
    }


def _sarif_rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.fix},
        "helpUri": rule.source if "://" in rule.source else None,
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _result(found: Finding, index: int) -> dict[str, Any]:
    rule = RULES[found.rule]
    locations = [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": place.path},
                **({"region": {"startLine": place.line}} if place.line else {}),
            }
        }
        for place in found.places
    ]
    return {
        "ruleId": rule.id,
        "ruleIndex": index,
        "level": _LEVELS[rule.severity],
        "message": {"text": f"{found.message}. {rule.why} {found.fix or rule.fix}"},
        "locations": locations[:1],
        "relatedLocations": [{"id": number, **each} for number, each in enumerate(locations[1:])],
    }
