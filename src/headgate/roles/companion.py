"""A worker of RQ or Celery under our supervision: started, watched, told to finish, and replaced when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from headgate.base.errors import ConfigError, HeadgateError
from headgate.base.ports import StopSignal
from headgate.config.load import as_environment
from headgate.supervisor.child import Child

LEASHED: Final = "headgate.roles.leashed"
LAST: Final = 2.0
"""Seconds before the deadline at which a worker that still works is told to leave its jobs to others."""


class CompanionEnded(HeadgateError):
    """The worker ended though nobody told it to."""


@dataclass(frozen=True)
class Tool:
    """One kind of worker.

    Args:
        name: of the command.
        arguments: of the command.
        env: what it is told beside the settings.
        at_once: the signal by which it leaves its jobs and goes, after a SIGTERM let it finish them.
    """

    name: str
    arguments: Sequence[str]
    at_once: signal.Signals
    env: Mapping[str, str] = field(default_factory=dict)


class Companion:
    """The service of a role's process; the worker is its child, and ends when it ends.

    Args:
        child: of the supervisor.
        tool: what to run.

    Raises:
        ConfigError: the tool is not installed.
    """

    def __init__(self, child: Child, tool: Tool) -> None:
        if find_spec(tool.name) is None:
            raise ConfigError(f'{tool.name}_workers needs {tool.name}: pip install "headgate[{tool.name}]"')
        self._child = child
        self._tool = tool

    async def run(self, ready: Callable[[], None], stop: StopSignal) -> None:
        """Run the worker until told to stop, then until its jobs are done or their time is up.

        Raises:
            CompanionEnded: it ended by itself.
        """
        told, tells = os.pipe()
        with contextlib.ExitStack() as given:
            given.callback(os.close, tells)
            process = await asyncio.create_subprocess_exec(
                *self._command(tells),
                stdin=asyncio.subprocess.PIPE,
                env={**os.environ, **as_environment(self._child.settings), **self._tool.env},
                pass_fds=[tells],
            )
        stopping = asyncio.ensure_future(stop.wait())
        ended = asyncio.ensure_future(process.wait())
        try:
            if await self._serves(told, stopping):
                self._child.report({f"{self._tool.name}_pid": process.pid})
                ready()
                await asyncio.wait({stopping, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not stopping.done():
                raise self._unexpected(await ended)
            await self._finish(process, ended, stopping.result())
        finally:
            stopping.cancel()
            for pid in family(process.pid) if not ended.done() else ():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await ended

    def _command(self, tells: int) -> list[str]:
        tool = self._tool
        return [sys.executable, "-m", LEASHED, str(tells), str(int(tool.at_once)), tool.name, *tool.arguments]

    async def _serves(self, told: int, stopping: asyncio.Future[float]) -> bool:
        """Wait for the word that it serves: False if it ended without it (so the pipe does too), or is to stop."""
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[bytes] = loop.create_future()

        def hear() -> None:
            loop.remove_reader(told)
            heard.set_result(os.read(told, 1))

        loop.add_reader(told, hear)
        try:
            both: list[asyncio.Future[Any]] = [heard, stopping]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            return heard.done() and heard.result() != b""
        finally:
            loop.remove_reader(told)
            os.close(told)

    async def _finish(self, process: asyncio.subprocess.Process, ended: asyncio.Future[int], seconds: float) -> None:
        """Let it finish its jobs; those that are not done when its time is nearly up are run again by their lease."""
        for number, patience in ((signal.SIGTERM, max(seconds - LAST, LAST / 2)), (self._tool.at_once, LAST / 2)):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            await asyncio.wait({ended}, timeout=patience)
            if ended.done():
                return

    def _unexpected(self, code: int) -> CompanionEnded:
        how = f"exited with code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
        return CompanionEnded(f"the {self._tool.name} worker {how}; it may have said why above")


def family(pid: int) -> list[int]:
    """A process and all that it has started, as far as the system tells (Linux): not all are in its group."""
    found = [pid]
    for one in found:  # grows meanwhile
        with contextlib.suppress(OSError):
            found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
    return found
