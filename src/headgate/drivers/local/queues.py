"""What is said of queues: pause, slots, rate, depth, weight; kept in the store, so that a restart changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headgate.base.errors import ConfigError
from headgate.drivers.local.store import QueueRules, Store, pack


def change(store: Store, queue: str, rules: Mapping[str, Any]) -> dict[str, Any]:
    """Change some of a queue's rules; returns them all.

    Raises:
        ConfigError: an unknown rule, or a value that does not fit it.
    """
    merged = msgspec.to_builtins(store.rules_of(queue) or QueueRules()) | dict(rules)
    unknown = sorted(set(merged) - set(QueueRules.__struct_fields__))
    if unknown:
        raise ConfigError(f"a queue has no rule {unknown[0]!r}; it has {', '.join(QueueRules.__struct_fields__)}")
    try:
        changed = msgspec.convert(merged, QueueRules)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"the rules of queue {queue!r} do not fit: {exc}") from exc
    if changed.weight <= 0 or (changed.rate is not None and changed.rate <= 0):
        raise ConfigError(f"the weight and the rate of queue {queue!r} are numbers above 0; pause it to stop it")
    store.db.execute(
        "INSERT INTO queues VALUES (?, ?) ON CONFLICT DO UPDATE SET rules = excluded.rules", (queue, pack(changed))
    )
    store.changes.rules[queue] = changed
    store.changes.ready = True
    return _all(changed)


def shown(store: Store) -> dict[str, Any]:
    """Every queue that has rules, with all of them."""
    return {queue: _all(rules) for queue, rules in sorted((store.rules | store.changes.rules).items())}


def _all(rules: QueueRules) -> dict[str, Any]:
    return {name: getattr(rules, name) for name in rules.__struct_fields__}
