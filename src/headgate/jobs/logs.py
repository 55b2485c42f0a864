"""What a job logs lands in its stream, beside where it lands anyway."""

from __future__ import annotations

import logging
from typing import Any, Protocol, cast

from headgate.base.jobcontext import CURRENT


class Logs(Protocol):
    """A job context that takes log lines (`declare.context.JobContext`)."""

    def log(self, message: str, **fields: Any) -> None: ...


class StreamHandler(logging.Handler):
    """Appends each record of a running job to that job's stream. What is logged outside of jobs passes by.

    Args:
        level: the least severe that is taken.
    """

    def __init__(self, level: int = logging.INFO) -> None:
        super().__init__(level)

    def emit(self, record: logging.LogRecord) -> None:
        context = CURRENT.get()
        if context is None or record.name.startswith("headgate."):
            return
        fields: dict[str, Any] = {"level": record.levelname.lower(), "logger": record.name}
        if record.exc_info:
            fields["traceback"] = logging.Formatter().formatException(record.exc_info)
        cast(Logs, context).log(record.getMessage(), **fields)
