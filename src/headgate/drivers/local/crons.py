"""Crons: the next moment of each is stored, and moves on in the same transaction as the put for the moment before."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from headgate.base import cron
from headgate.base.errors import ConfigError, QueueFull
from headgate.base.model import Cron
from headgate.drivers.local import accept
from headgate.drivers.local.store import Store, pack

log = logging.getLogger(__name__)

FAR: Final = 86_400.0
"""Seconds by which a cron's next moment may be later than the first one from now. Beyond them the clock has been that
much ahead and was set back; what comes again of a shorter time has been done already."""
_decoder: msgspec.msgpack.Decoder[Cron] = msgspec.msgpack.Decoder(Cron)


def replace(store: Store, owner: str, crons: Sequence[Cron]) -> None:
    """These are all crons of an owner. One whose times are as before keeps its next moment, missed ones included,
    unless that is `FAR` away.

    Raises:
        ConfigError: an expression or a zone is wrong; nothing was changed.
    """
    fresh = {one.name: cron.parse(one.expression, one.zone).after(store.now) for one in crons}
    known = {name: (old, at) for name, _, old, at in _all(store)}
    store.db.execute("DELETE FROM crons WHERE owner = ?", (owner,))
    for one in crons:
        old, at = known.get(one.name, (None, 0.0))
        same = old is not None and (old.expression, old.zone) == (one.expression, one.zone)
        moment = at if same and at <= fresh[one.name] + FAR else fresh[one.name]
        store.db.execute("INSERT OR REPLACE INTO crons VALUES (?, ?, ?, ?)", (one.name, owner, pack(one), moment))
        store.changes.falls_due(moment)


def listed(store: Store) -> list[tuple[str, Cron, float]]:
    """Every cron with its owner and its next moment."""
    return [(owner, one, at) for _, owner, one, at in _all(store)]


def fire(store: Store) -> int:
    """Put the jobs of every moment that has come; returns how many crons had one."""
    rows = store.db.execute("SELECT name, cron, next FROM crons WHERE next <= ?", (store.now,)).fetchall()
    for name, raw, at in rows:
        one = _decoder.decode(raw)
        try:
            moments, following = cron.due(one, at, store.now)
        except ConfigError as exc:
            log.error("cron %s is given up: %s", name, exc)
            store.db.execute("DELETE FROM crons WHERE name = ?", (name,))
            continue
        store.db.execute("UPDATE crons SET next = ? WHERE name = ?", (following, name))
        for moment in cron.wanted(one, moments, store.now):
            _put(store, one, moment)
    return len(rows)


def _put(store: Store, one: Cron, moment: float) -> None:
    job = cron.run_of(one, moment, store.now)
    try:
        accept.put(store, [job])
    except QueueFull as exc:
        log.warning("the run of cron %s is left out: %s", one.name, exc)


def _all(store: Store) -> list[tuple[str, str, Cron, float]]:
    rows = store.db.execute("SELECT name, owner, cron, next FROM crons ORDER BY next")
    return [(name, owner, _decoder.decode(raw), at) for name, owner, raw, at in rows]
