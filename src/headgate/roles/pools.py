"""What a worker tells of its database pools, when the app has any."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

TOLD: Final = 5
"""Slow and repeated statements of each pool that go to `headgate status`; `bulk.stats()` has them all."""

Report = Callable[[Mapping[str, Any]], None]


def with_pools(report: Report) -> Report:
    """The same report, with the facts of this process's pools under `pools`.

    An app without a pool pays nothing: the module is looked at only once the app has imported it.
    """

    def told(stats: Mapping[str, Any]) -> None:
        pools = _pools()
        report({**stats, "pools": pools} if pools else stats)

    return told


def _pools() -> dict[str, Any]:
    module = sys.modules.get("headgate.bulk.pool")
    if module is None:
        return {}
    return {
        name: {key: fact[:TOLD] if isinstance(fact, list) else fact for key, fact in facts.items()}
        for name, facts in module.stats().items()
    }
