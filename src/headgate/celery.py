"""For a Celery app whose workers are to run Headgate jobs, or whose tasks are to be followed.

    from headgate.celery import install

    celery = Celery("shop", broker="amqp://…")
    install(celery, follow=True)

With `follow`, the life of each task is told to the stream `celery/<task id>`, which `sock.follow` takes.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from celery import Celery, signals

from headgate.base.errors import HeadgateError
from headgate.base.model import NewEvent
from headgate.base.streams import StreamSpec, Write
from headgate.declare import binding
from headgate.drivers.celery import TASK, warnings
from headgate.roles.carried import connected, run

log = logging.getLogger(__name__)


def install(app: Celery, *, timeout: float | None = None, follow: bool = False) -> None:
    """Let the workers of a Celery app run the jobs of Headgate that are declared with `engine="celery"`.

    Call it where the app is made, before its tasks are declared. The workers need HEADGATE_BROKER, or a headgate.toml
    in their folder.

    Args:
        timeout: of the longest such job, in seconds: what the app's own limits are checked against.
        follow: tell of the app's own tasks too, in streams: queued, started, progress (`update_state` with any state
            of its own), retrying, and at the end result, failed or cancelled.
    """

    def ticket(job_id: str) -> Any:
        return run(job_id, "celery", None)

    # Acknowledged before it runs: the lease finds a job whose worker is killed, and much sooner.
    app.task(ticket, name=TASK, acks_late=False, ignore_result=True, max_retries=0)

    def check(**_: Any) -> None:
        for said in warnings(app, timeout):
            log.warning("%s", said)

    signals.worker_ready.connect(check, weak=False)
    if follow:
        _follow(app)


def _follow(app: Celery) -> None:
    base: Any = app.Task

    class Followed(base):  # type: ignore[misc] # Celery makes its classes at run time
        abstract = True

        def update_state(self, task_id: Any = None, state: Any = None, meta: Any = None, **rest: Any) -> None:
            super().update_state(task_id=task_id, state=state, meta=meta, **rest)
            data = meta if isinstance(meta, dict) else {"meta": meta}
            _tell(task_id or self.request.id, NewEvent("progress", {"state": state, **data}))

    app.Task = Followed

    def published(sender: Any = None, headers: Any = None, **_: Any) -> None:
        if sender != TASK and headers and headers.get("id") and not headers.get("retries"):
            _tell(headers["id"], NewEvent("queued", {"task": str(sender)}))

    def begins(task_id: str = "", task: Any = None, **_: Any) -> None:
        if task.name != TASK:
            _tell(task_id, NewEvent("started", {"try": task.request.retries + 1}))

    def succeeded(sender: Any = None, result: Any = None, **_: Any) -> None:
        if sender.name != TASK:
            _tell(sender.request.id, NewEvent("result", {"result": result}, terminal=True))

    def failed(sender: Any = None, task_id: str = "", exception: Any = None, **_: Any) -> None:
        if sender.name != TASK:
            # The traceback stays with Celery: followers may be anybody.
            said = {"type": type(exception).__name__, "message": str(exception)}
            _tell(task_id, NewEvent("failed", said, terminal=True))

    def again(request: Any = None, reason: Any = None, **_: Any) -> None:
        _tell(request.id, NewEvent("retrying", {"message": str(reason)}))

    def revoked(request: Any = None, **_: Any) -> None:
        _tell(request.id, NewEvent("cancelled", {}, terminal=True))

    # Signals belong to the process, not to an app: two apps, or one that is made twice, must not tell twice. And a
    # signal would forget functions that nobody else holds.
    signals.before_task_publish.connect(published, weak=False, dispatch_uid="headgate.follow")
    signals.task_prerun.connect(begins, weak=False, dispatch_uid="headgate.follow")
    signals.task_success.connect(succeeded, weak=False, dispatch_uid="headgate.follow")
    signals.task_failure.connect(failed, weak=False, dispatch_uid="headgate.follow")
    signals.task_retry.connect(again, weak=False, dispatch_uid="headgate.follow")
    signals.task_revoked.connect(revoked, weak=False, dispatch_uid="headgate.follow")


def _tell(task_id: str, event: NewEvent) -> None:
    """Append to the task's stream. A task never fails for it."""
    try:
        data = msgspec.Raw(msgspec.msgpack.encode(event.data, enc_hook=repr))
        write = Write(events=[msgspec.structs.replace(event, data=data)], spec=StreamSpec())
        connected()
        binding.current().engine.write(f"celery/{task_id}", write)
    except (HeadgateError, msgspec.MsgspecError) as exc:
        log.warning("task %s cannot be followed: %s", task_id, exc)
