"""The app worker's process: `python -m headgate.roles.app`, started by the supervisor."""

from __future__ import annotations

from typing import Final

from headgate.apps import stamps
from headgate.apps.plan import WorkerPlan
from headgate.apps.worker import AppWorker
from headgate.declare import binding
from headgate.declare.socketio import hook as socketio
from headgate.library import secret_of
from headgate.roles.carriers import rq_url
from headgate.roles.choose import open_bridge
from headgate.roles.machine import member
from headgate.roles.pools import with_pools
from headgate.supervisor.child import Child, serve

LONG: Final = 0.5
"""Seconds after which a handler that runs is shown by `headgate status --threads`."""


def service(child: Child) -> AppWorker:
    """An app worker as the supervisor wants it."""
    settings = child.settings
    stamps.use(child.watch)
    lane = child.lane or "slow"
    plan = WorkerPlan(
        app=settings.app,
        name=child.name,
        lane=lane,
        generation=child.generation,
        links=child.links,
        slots=settings.threads if lane == "fast" else settings.slow_threads,
        most_slots=settings.slow_threads_most if lane == "slow" else 0,
        lanes=settings.lanes and settings.slow_workers > 0,
        loop_threads=settings.loop_threads,
        inbox=settings.inbox,
        event_field=settings.event_field,
        offload=settings.offload,
        bodies=str(settings.folder.offload),
    )

    def bind_engine() -> None:
        socketio.prepare(settings.folder.run)
        bridge = open_bridge(settings.broker, settings.data, settings, member=member(child))
        bridge.open()
        binding.bind(
            bridge,
            secret=lambda: secret_of(settings),
            root_path=settings.root_path,
            url_ttl=settings.result_ttl,
            rq_url=rq_url(settings.broker, settings),
        )

    report = with_pools(child.report)
    worker = AppWorker(plan, bind_engine, lambda stats: report({**stats, "threads_busy": stamps.busy(LONG)}))
    child.on_message("links", lambda data: worker.dial(data["paths"]))
    return worker


def main() -> None:
    """Run the role; does not return."""
    serve(service)


if __name__ == "__main__":
    main()
