"""Stacks: taken quickly while a stall lasts, written out later; and whose code a frame is."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FrameType
from typing import Final, NamedTuple

DEEPEST: Final = 120
"""Frames kept of a stack, the innermost ones."""
_OWN: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_SITE: Final = re.compile(r".*[/\\](?:site|dist)-packages[/\\](.+)$")
_STDLIB: Final = re.compile(r".*[/\\]lib(?:64)?[/\\]python3\.\d+[/\\](?!(?:site|dist)-packages)(.+)$")
_WATCH: Final = re.compile(r"[/\\]headgate[/\\]watch[/\\]")

Raw = tuple[CodeType, int]
"""A frame at one moment: its code and its instruction."""


class Frame(NamedTuple):
    """One frame of a stack."""

    file: str
    line: int
    function: str


Stack = tuple[Frame, ...]
"""Innermost first."""


def take(frame: FrameType | None) -> list[Raw]:
    """A running thread's frames, innermost first; some microseconds."""
    raw: list[Raw] = []
    while frame is not None and len(raw) < DEEPEST:
        raw.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return raw


def root(frame: FrameType | None, base: FrameType | None) -> FrameType | None:
    """The frame that stands for the callback or the greenlet that runs: two samples of one callback share it.

    Args:
        frame: the innermost frame.
        base: the frame that runs the loop, if that is known.
    """
    found = frame
    while frame is not None and frame is not base:
        code = frame.f_code
        if code.co_name == "_run_once" and code.co_filename.endswith("base_events.py"):
            return found
        found = frame
        frame = frame.f_back
    return found


def write_out(raw: list[Raw]) -> Stack:
    """The frames with their lines."""
    return without_own(tuple(Frame(code.co_filename, line_of(code, lasti), function_name(code)) for code, lasti in raw))


def without_own(stack: Stack) -> Stack:
    """A stack without the frames of the watch's own hooks."""
    return tuple(frame for frame in stack if not _WATCH.search(frame.file))


def line_of(code: CodeType, lasti: int) -> int:
    """The line of an instruction."""
    for start, end, line in code.co_lines():
        if start <= lasti < end and line is not None:
            return line
    return code.co_firstlineno


def function_name(code: CodeType) -> str:
    """A function's name with its class."""
    return getattr(code, "co_qualname", code.co_name).replace("<locals>.", "")


@lru_cache(maxsize=4096)
def owner(file: str) -> str:
    """Whose code a file is: "user", "library", "stdlib", "headgate" or "python"."""
    if file.startswith("<frozen"):
        return "python"
    if file.startswith(_OWN) or _WATCH.search(file):
        return "headgate"
    if _SITE.match(file):
        return "library"
    if _STDLIB.match(file):
        return "stdlib"
    return "user"


@lru_cache(maxsize=4096)
def module(file: str) -> str:
    """The package that a library's file belongs to, or the module of the standard library, or the file's name."""
    if file.startswith("<frozen"):
        return file[8:-1]
    if file.startswith(_OWN):
        return "headgate." + re.split(r"[/\\]", file[len(_OWN) :])[0].removesuffix(".py")
    found = _SITE.match(file)
    if found:
        return re.split(r"[/\\]", found.group(1))[0].removesuffix(".py")
    found = _STDLIB.match(file)
    if found:
        return re.sub(r"[/\\]", ".", found.group(1).removesuffix(".py")).removesuffix(".__init__")
    return os.path.basename(file).removesuffix(".py")


def blamed(stack: Stack) -> int:
    """The index of the frame to show first: the innermost of the user's own, else the best there is."""
    for wanted in ("user", "headgate", "library"):
        for index, frame in enumerate(stack):
            if owner(frame.file) == wanted and not _is_loop(frame):
                return index
    return 0


def _is_loop(frame: Frame) -> bool:
    """A frame of gunicorn's, a hub's or a runner's that is on every stack is nobody's fault."""
    name = module(frame.file)
    return name in ("eventlet", "gevent", "uvloop", "gunicorn", "uvicorn")


def importing(stack: Stack) -> bool:
    """Whether a module is being imported."""
    return any(frame.file.startswith("<frozen importlib") and frame.function == "_find_and_load" for frame in stack)


def debugging(stack: Stack) -> bool:
    """Whether somebody sits in a debugger, at a prompt or at a breakpoint."""
    return any(module(frame.file) in _DEBUGGERS for frame in stack)


_DEBUGGERS: Final = frozenset({"pdb", "bdb", "pydevd", "_pydevd_bundle", "debugpy", "ipdb", "pudb", "code"})


def current(ident: int) -> FrameType | None:
    """The innermost frame of a thread now; the frame of the greenlet that runs, if it has greenlets."""
    return sys._current_frames().get(ident)


def walk(frame: FrameType | None) -> Iterator[FrameType]:
    """A frame and its callers."""
    for _ in range(DEEPEST):
        if frame is None:
            return
        yield frame
        frame = frame.f_back
