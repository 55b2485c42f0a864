"""Why a role could not start, in the words that its user needs: the traceback from their code on, or one message."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType
from typing import Final

import headgate
from headgate.base.errors import ConfigError, HeadgateError
from headgate.supervisor.channel import Failed

_OURS: Final = str(Path(headgate.__file__).parent)
_CALLERS: Final = ("/importlib/__init__.py", "/asyncio/runners.py", "/asyncio/base_events.py")


def describe(exc: BaseException) -> Failed:
    """An exception as the supervisor shows it.

    Headgate's own errors teach by their message alone. Of others the traceback is shown, without
    the frames of Headgate and of the import machinery that come before the user's first.
    """
    if isinstance(exc, HeadgateError) and exc.__cause__ is None:
        return Failed(str(exc), "", isinstance(exc, ConfigError))
    if isinstance(exc, HeadgateError):
        return Failed(str(exc), _trimmed(exc.__cause__ or exc), isinstance(exc, ConfigError))
    if isinstance(exc, SystemExit):
        message = f"The process called sys.exit({exc.code!r}) before it was ready."
    else:
        message = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
    return Failed(message, _trimmed(exc), False)


def _trimmed(exc: BaseException) -> str:
    found = _from_user_code(exc.__traceback__)
    if found is None and not isinstance(exc, SyntaxError):  # a syntax error names its place itself
        found = exc.__traceback__
    return "".join(traceback.format_exception(type(exc), exc, found)).rstrip()


def _from_user_code(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame on that is not ours; None when there is none."""
    while trace is not None and _is_machinery(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return trace


def _is_machinery(filename: str) -> bool:
    return filename.startswith((_OURS, "<frozen ", "uvloop/")) or filename.endswith(_CALLERS)
