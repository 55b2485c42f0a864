"""`headgate watch run`: starts a command whose Python processes watch themselves, and observes them from outside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from headgate.base.errors import ConfigError
from headgate.watch import carry, folders
from headgate.watch.model import Incident
from headgate.watch.observer import Observer

_PASSED_ON = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGTTIN", "SIGTTOU")


@dataclass(frozen=True)
class Ended:
    """How the command ended, and what could be seen of its processes."""

    code: int
    """Its exit code; 128 + the signal's number when one ended it, as shells have it."""
    sights: dict[int, tuple[str, str]]


def run(
    command: Sequence[str],
    folder: Path,
    *,
    threshold: float = 0.1,
    handler_threshold: float = 1.0,
    quiet: bool = False,
    died: Callable[[Incident], None] = lambda _incident: None,
) -> Ended:
    """Run a command to its end. Signals that this process gets are passed on to it.

    Raises:
        ConfigError: the command cannot be started.
    """
    env = carry.environment(folder, os.environ, threshold=threshold, handler_threshold=handler_threshold, quiet=quiet)
    observer = Observer(folder, tell=died)
    observer.start()
    try:
        try:
            process = subprocess.Popen(list(command), env=env)
        except OSError as exc:
            raise ConfigError(f"{command[0]} cannot be started: {exc.strerror}.") from exc
        with folders.held(folder), _passing_signals(process):
            code = process.wait()
        sights = observer.sights() | observer.gone
    finally:
        observer.stop()
    return Ended(128 - code if code < 0 else code, sights)


@contextlib.contextmanager
def _passing_signals(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """A terminal's Ctrl-C reaches the command by itself; all other signals are passed on."""

    def pass_on(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not _in_foreground():
            pass_on(number, frame)

    numbers = [getattr(signal, name) for name in _PASSED_ON if hasattr(signal, name)]
    before = {number: signal.signal(number, pass_on) for number in numbers}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_foreground() -> bool:
    """Whether this process is one of those that its terminal's Ctrl-C goes to."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
