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
    changed = merged(queue, store.rules_of(queue), rules)
    store.db.execute(
        "INSERT INTO queues VALUES (?, ?) ON CONFLICT DO UPDATE SET rules = excluded.rules", (queue, pack(changed))
    )
    store.changes.rules[queue] = changed
    store.changes.ready = True
    return told(changed)


def shown(store: Store) -> dict[str, Any]:
    """Every queue that has rules, with all of them."""
    return {queue: told(rules) for queue, rules in sorted((store.rules | store.changes.rules).items())}


def merged(queue: str, old: QueueRules | None, rules: Mapping[str, Any]) -> QueueRules:
    """The rules of a queue after a change of some; pure.

    Raises:
        ConfigError: an unknown rule, or a value that does not fit it.
    """
    wanted = msgspec.to_builtins(old or QueueRules()) | dict(rules)
    unknown = sorted(set(wanted) - set(QueueRules.__struct_fields__))
    if unknown:
        raise ConfigError(f"a queue has no rule {unknown[0]!r}; it has {', '.join(QueueRules.__struct_fields__)}")
    try:
        changed = msgspec.convert(wanted, QueueRules)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"the rules of queue {queue!r} do not fit: {exc}") from exc
    if changed.weight <= 0 or (changed.rate is not None and changed.rate <= 0):
        raise ConfigError(f"the weight and the rate of queue {queue!r} are numbers above 0; pause it to stop it")
    return changed


def told(rules: QueueRules) -> dict[str, Any]:
    """All rules by name."""
    return {name: getattr(rules, name) for name in rules.__struct_fields__}
