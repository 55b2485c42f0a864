"""The lifespan of an ASGI app (ASGI lifespan specification 2.0): its start-up before, its shutdown after."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from headgate.apps.asgi import AsgiApp, Event
from headgate.base.errors import HeadgateError

log = logging.getLogger("headgate.app")


class StartupFailed(HeadgateError):
    """The app said that it cannot start; its own message says why."""


class Lifespan:
    """One app's lifespan.

    Args:
        app: the ASGI app.
    """

    def __init__(self, app: AsgiApp) -> None:
        self._app = app
        self.state: dict[str, Any] = {}
        """What the app keeps for its requests; each gets a copy."""
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._answers: asyncio.Queue[Event] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Run the start-up. An app that knows no lifespan raises at once, and goes without.

        Raises:
            StartupFailed: the app says so.
        """
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        self._task = asyncio.create_task(self._run(scope))
        answer = await self._tell("lifespan.startup")
        if answer["type"] == "lifespan.startup.failed":
            raise StartupFailed(answer.get("message") or "the app's start-up failed; its log says why")

    async def stop(self, seconds: float) -> None:
        """Run the shutdown, for at most so long."""
        if self._task is None or self._task.done():
            return
        try:
            answer = await asyncio.wait_for(self._tell("lifespan.shutdown"), seconds)
        except TimeoutError:
            log.warning("the app's shutdown has not ended in %.1f s and is given up", seconds)
            self._task.cancel()
            return
        if answer["type"] == "lifespan.shutdown.failed":
            log.error("the app's shutdown failed: %s", answer.get("message", ""))

    async def _tell(self, kind: str) -> Event:
        self._events.put_nowait({"type": kind})
        return await self._answers.get()

    async def _run(self, scope: Event) -> None:
        try:
            await self._app(scope, self._events.get, self._answer)
        except Exception as exc:
            log.debug("the app takes no lifespan: %r", exc)
        self._answers.put_nowait({"type": "lifespan.none"})

    async def _answer(self, event: Event) -> None:
        self._answers.put_nowait(event)
