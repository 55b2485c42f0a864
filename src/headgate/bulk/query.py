"""A query as SQL text with parameters, whatever it was given as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ClauseElement

from headgate.bulk.errors import WrongTarget


@dataclass(frozen=True)
class Query:
    """SQL in the driver's own parameter style."""

    sql: str
    parameters: Mapping[str, Any] | tuple[Any, ...] = field(default_factory=dict)


def as_query(query: Any, parameters: Mapping[str, Any] | None, engine: sa.Engine) -> Query:
    """Compile a query for an engine.

    Args:
        query: SQL with `:name` parameters, or a SQLAlchemy select.
        parameters: the values of the parameters.
        engine: whose dialect compiles it.

    Raises:
        WrongTarget: it is neither.
    """
    if isinstance(query, str):
        query = sa.text(query.strip().rstrip(";"))
    if not isinstance(query, ClauseElement):
        raise WrongTarget(f"{query!r} is no query; give SQL text or a SQLAlchemy select")
    compiled = query.compile(dialect=engine.dialect, compile_kwargs={"render_postcompile": True})
    values: Mapping[str, Any] = compiled.construct_params(dict(parameters or {})) or {}
    processors: Mapping[str, Any] = getattr(compiled, "_bind_processors", {})
    values = {name: processors[name](value) if name in processors else value for name, value in values.items()}
    if getattr(compiled, "positional", False):
        return Query(str(compiled), tuple(values[name] for name in getattr(compiled, "positiontup", None) or ()))
    return Query(str(compiled), values)
