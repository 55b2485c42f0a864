"""Bulk writing and reading: fast, bounded, restartable, polite.

    from headgate import bulk

    bulk.update(Order, rows)                           # a Flask-SQLAlchemy model, in an app context or a job
    bulk.upsert("orders", "orders.csv", on=engine)     # a table's name and a file

Outside of a job it works as well; within one, progress, cancellation and checkpoints come by themselves.
"""

from __future__ import annotations

from headgate.bulk.api import Options, delete, insert, update, upsert
from headgate.bulk.errors import BadRow, BulkError, PoolTimeout, PoolTooLarge, SourceChanged, Stuck, WrongTarget
from headgate.bulk.export import Export, export
from headgate.bulk.model import Politeness, Reject, Result
from headgate.bulk.pool import pool, stats
from headgate.bulk.reader import Reader, read
from headgate.bulk.run_async import run_async
from headgate.bulk.signals import replication_lag
from headgate.bulk.statements import watch_statements

__all__ = [
    "BadRow",
    "BulkError",
    "Export",
    "Options",
    "Politeness",
    "PoolTimeout",
    "PoolTooLarge",
    "Reader",
    "Reject",
    "Result",
    "SourceChanged",
    "Stuck",
    "WrongTarget",
    "delete",
    "export",
    "insert",
    "pool",
    "read",
    "replication_lag",
    "run_async",
    "stats",
    "update",
    "upsert",
    "watch_statements",
]
