"""The broker's process: `python -m headgate.roles.broker`, started by the supervisor."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from headgate.base import marks
from headgate.base.ports import StopSignal
from headgate.broker.server import Broker
from headgate.roles.limits import limits_of
from headgate.supervisor.child import Child, serve
from headgate.supervisor.memory import give_back_early

log = logging.getLogger(__name__)


class BrokerRole:
    """The broker, told of dead workers by the supervisor."""

    def __init__(self, child: Child) -> None:
        settings = child.settings
        limits = limits_of(settings)
        self._child = child
        # Children die with their supervisor. So when a new one starts its first broker, and the job workers
        # are its own, those of before are dead.
        first = child.replaces is None and "jobs" in settings.roles
        self._broker = Broker(Path(settings.data), limits, durable=settings.broker != "memory", first=first)

    async def run(self, ready: Callable[[], None], stop: StopSignal) -> None:
        """Serve until `stop`; see `Broker.run`."""

        def begin() -> None:
            self._child.on_message("worker_died", self._worker_died)
            ready()

        reporting = asyncio.create_task(self._report())
        try:
            await self._broker.run(begin, stop)
        finally:
            reporting.cancel()

    def _worker_died(self, data: Mapping[str, Any]) -> None:
        if self._broker.desk is not None:
            self._broker.desk.worker_died(str(data["name"]))
            marks.forget(self._child.settings.folder.marks, str(data["name"]))

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._child.report(self._broker.report())


def main() -> None:
    """Run the role; does not return."""
    give_back_early()
    serve(BrokerRole)


if __name__ == "__main__":
    main()
