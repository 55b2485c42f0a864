"""One row per key, in the key's order, for engines that apply a chunk row by row."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from headgate.bulk.model import Operation, Plan


def ordered(plan: Plan, lines: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The lines as they are best applied: sorted by key (pages of the index are visited once, and always in
    one order), and of rows with the same key only the last, unless an expression must see them all.
    """
    if not plan.key:
        return list(lines)
    places = [plan.columns.index(name) for name in plan.key]
    key_of = itemgetter(*places)
    kept = list(lines)
    if plan.operation is not Operation.INSERT and not plan.expressions:
        kept = list({key_of(line): line for line in lines}.values())
    try:
        kept.sort(key=key_of)
    except TypeError:
        return kept  # keys of mixed types have no order in Python; the database takes them in any
    return kept
