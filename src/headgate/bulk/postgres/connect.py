"""psycopg connections like those of a SQLAlchemy engine, but of the bulk write's own."""

from __future__ import annotations

import re
from typing import Any, Final

import psycopg
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from headgate.bulk.errors import WrongTarget
from headgate.bulk.failures import TryAgain

# libpq gives a refused connection no SQLSTATE, only the server's words; in another language they count as passing.
_REFUSED: Final = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|(role|database) \".*\" does not exist"
)


def connect(engine: Engine) -> psycopg.Connection[Any]:
    """A new connection in autocommit mode, not counted by the engine's pool.

    An engine that uses psycopg gives its own, with its credentials, events and search path. For other drivers
    the same URL is used: its options are libpq's.

    Raises:
        TryAgain: the server cannot be reached now.
        WrongTarget: it can, and refuses this user, password or database; another try would not change that.
    """
    try:
        connection = _detached(engine) if engine.dialect.driver == "psycopg" else _by_url(engine)
    except Exception as error:
        cause = getattr(error, "orig", error)
        if isinstance(cause, psycopg.OperationalError):
            words = " ".join(str(cause).split())
            if _REFUSED.search(words):
                raise WrongTarget(f"the server refuses the connection ({words}); correct the URL") from error
            raise TryAgain(f"no connection to the server ({words})", lost=True) from error
        raise
    connection.autocommit = True
    # Behind a proxy that shares connections, a prepared statement would be somebody else's.
    connection.prepare_threshold = None
    return connection


def _detached(engine: Engine) -> psycopg.Connection[Any]:
    fairy = engine.raw_connection()
    connection = fairy.driver_connection
    fairy.detach()
    assert isinstance(connection, psycopg.Connection)
    connection.rollback()
    return connection


def twin_of(engine: Engine) -> Engine:
    """The same database through psycopg, whatever driver the engine uses; opens nothing."""
    if engine.dialect.driver == "psycopg":
        return engine
    return create_engine(engine.url.set(drivername="postgresql+psycopg"), poolclass=NullPool)


def _by_url(engine: Engine) -> psycopg.Connection[Any]:
    twin = twin_of(engine)
    _, arguments = twin.dialect.create_connect_args(twin.url)
    arguments.pop("context", None)
    return psycopg.connect(**arguments)
