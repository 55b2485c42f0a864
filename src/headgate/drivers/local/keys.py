"""`key=` and `limit=`: at most so many jobs of one key run at once.

Of each key at most `limit` jobs are running or visible to claims; the others are held back. So a claim
never meets a job that it may not run, however many of one key wait at the head of a queue.
"""

from __future__ import annotations

from headgate.drivers.local.store import Store


def entered(store: Store, seq: int, key: str, limit: int) -> None:
    """A job of this key has become queued (and visible): hold it back, or a lesser one, if they are too many."""
    if _visible(store, key) <= limit:
        return
    worst = store.db.execute(
        "SELECT seq FROM jobs WHERE key = ? AND state = 1 AND held = 0 ORDER BY priority, seq DESC LIMIT 1", (key,)
    ).fetchone()
    store.db.execute("UPDATE jobs SET held = 1 WHERE seq = ?", worst if worst else (seq,))


def freed(store: Store, key: str) -> None:
    """A job of this key may have left: let the best of those held back take its place."""
    while True:
        best = store.db.execute(
            "SELECT seq, key_limit FROM jobs WHERE key = ? AND state = 1 AND held = 1"
            " ORDER BY priority DESC, seq LIMIT 1",
            (key,),
        ).fetchone()
        if best is None or _visible(store, key) >= best[1]:
            return
        store.db.execute("UPDATE jobs SET held = 0 WHERE seq = ?", (best[0],))
        store.changes.ready = True


def _visible(store: Store, key: str) -> int:
    # At most limit + 1 rows by the rule above, so counting them is cheap.
    row = store.db.execute(
        "SELECT count(*) FROM jobs WHERE key = ? AND state IN (1, 2) AND held = 0", (key,)
    ).fetchone()
    return int(row[0])
