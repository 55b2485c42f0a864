"""Asking the supervisor of a data folder: what `status`, `reload` and `stop` share."""

from __future__ import annotations

from headgate.config.settings import Settings
from headgate.supervisor.control import Question, Reply, ask


def ask_supervisor(settings: Settings, question: Question, seconds: float = 10.0) -> Reply:
    """Ask the supervisor behind these settings' data folder.

    Raises:
        Unavailable: none runs there, or it does not answer within so many seconds.
    """
    return ask(settings.folder.control.absolute(), question, seconds)
