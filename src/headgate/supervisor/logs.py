"""Log lines of every process: time, level, process, logger, text, on stderr."""

from __future__ import annotations

import logging
import sys

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def set_up(process: str, level: str) -> None:
    """Send the root logger's lines to stderr with the name of the process in each.

    The app's own loggers are heard through it too, until the app configures logging itself.
    """
    handler = logging.StreamHandler(sys.stderr)
    layout = f"%(asctime)s.%(msecs)03d %(levelname)-7s {process} %(name)s: %(message)s"
    handler.setFormatter(logging.Formatter(layout, datefmt="%H:%M:%S"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(LEVELS[level])
    if level != "debug":  # what they tell of themselves is said in our own words
        for chatty in ("uvicorn.error", "watchfiles.main"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
