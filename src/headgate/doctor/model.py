"""What the doctor finds, and the rules by which: plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from headgate.readers.place import Place as Place

if TYPE_CHECKING:
    from headgate.doctor.case import Case


class Severity(IntEnum):
    """How bad it is; the greater the worse."""

    INFO = 1
    """Worth knowing; may be meant."""
    WARNING = 2
    """Fails under load, at a deploy, or on a bad day."""
    ERROR = 3
    """Does not work, stalls everybody, or loses something."""

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Change:
    """A fix that is one line: replace it, or add one after it (`old` is empty)."""

    place: Place
    old: str
    new: str


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Args:
        rule: the rule's id.
        message: what is wrong here, with the values that make it so.
        places: the evidence, the decisive one first.
        fix: what to do here; the rule's own advice where this is empty.
        change: the fix as one line, where it is one.
    """

    rule: str
    message: str
    places: tuple[Place, ...]
    fix: str = ""
    change: Change | None = None


Check = Callable[["Case"], Iterable[Finding]]


@dataclass(frozen=True)
class Rule:
    """Something that goes wrong in deployments.

    Args:
        id: its name in reports and suppressions.
        title: one line.
        severity: how bad it is.
        why: why it hurts, in one sentence.
        fix: what to do.
        source: the document that says so.
        check: finds it.
        rank: of two findings of a severity, the lower comes first: what stalls everybody before what may.
    """

    id: str
    title: str
    severity: Severity
    why: str
    fix: str
    source: str
    check: Check = field(compare=False)
    rank: int = 50
