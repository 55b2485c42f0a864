"""Where rules are entered."""

from __future__ import annotations

from collections.abc import Callable

from headgate.doctor.model import Check, Rule, Severity

RULES: dict[str, Rule] = {}
"""Rule id → rule, in the order of their subjects."""


def rule(
    id: str, title: str, severity: Severity, *, why: str, fix: str, source: str, rank: int = 50
) -> Callable[[Check], Check]:
    """Enter a function as a rule's check; see `Rule` for the arguments."""

    def enter(check: Check) -> Check:
        assert id not in RULES, id
        RULES[id] = Rule(id, title, severity, why, fix, source, check, rank)
        return check

    return enter
