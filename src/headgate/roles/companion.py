"""A worker of RQ or Celery under our supervision: started, watched, told to finish, and replaced when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from headgate.base.errors import ConfigError, HeadgateError
from headgate.base.ports import StopSignal
from headgate.config.load import as_environment
from headgate.supervisor.child import Child

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
        at_once: the signal by which it leaves its jobs and goes, after a SIGTERM let it finish them.
    """

    name: str
    arguments: Sequence[str]
    at_once: signal.Signals


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
                *(sys.executable, "-m", "headgate.roles.leashed", str(tells), self._tool.name, *self._tool.arguments),
                stdin=asyncio.subprocess.PIPE,
                env={**os.environ, **as_environment(self._child.settings)},
                pass_fds=[tells],
            )
        stopping = asyncio.ensure_future(stop.wait())
        ended = asyncio.ensure_future(process.wait())
        try:
            await self._until_serving(told, ended)
            self._child.report({f"{self._tool.name}_pid": process.pid})
            ready()
            await asyncio.wait({stopping, ended}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                raise self._unexpected(ended.result())
            await self._finish(process, ended, stopping.result())
        finally:
            stopping.cancel()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _until_serving(self, told: int, ended: asyncio.Future[int]) -> None:
        """Wait for the word that it serves; the end of the pipe without it is its end."""
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[bytes] = loop.create_future()

        def hear() -> None:
            loop.remove_reader(told)
            heard.set_result(os.read(told, 1))

        loop.add_reader(told, hear)
        try:
            if not await heard:
                raise self._unexpected(await ended)
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
