"""What is done about a handler that raises: an id for the client, the traceback under that id for the log."""

from __future__ import annotations

import logging
import secrets

log = logging.getLogger("headgate.app")


def report(exc: BaseException, handler: str, when: str = "") -> str:
    """Log the exception; returns its error id.

    Args:
        handler: which handler raised it.
        when: added to the first line, if the moment is not the usual one.
    """
    error_id = secrets.token_hex(8)
    log.error(
        "%s raised %s%s (error id %s)", handler, type(exc).__name__, f" {when}" if when else "", error_id, exc_info=exc
    )
    return error_id
