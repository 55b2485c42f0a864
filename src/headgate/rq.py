"""Following jobs that were enqueued into RQ without Headgate: `sock.follow(headgate.rq.watch(job.id))`.

RQ tells nobody what its jobs do, so it is asked: by one thread per process, four times a second, for all jobs at once.
What it finds new goes to a stream. Several processes may watch the same job.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Final

import msgspec
from redis import Redis, RedisError
from rq.exceptions import NoSuchJobError
from rq.job import Job

from headgate.base.errors import HeadgateError, UnknownJob
from headgate.base.model import NewEvent
from headgate.base.streams import StreamSpec, Write
from headgate.config.load import load
from headgate.declare import binding

log = logging.getLogger(__name__)

EVERY: Final = 0.25
"""Seconds between two looks."""
WAITING: Final = ("created", "queued", "deferred", "scheduled")
ENDED: Final = {"finished": "result", "failed": "failed", "stopped": "cancelled", "canceled": "cancelled"}


def watch(job_id: str, *, url: str | None = None) -> str:
    """Follow an RQ job from now on; returns the name of its stream, for `sock.follow` and the like.

    The stream has the events of a Headgate job: queued, started, progress (the job's `meta` whenever that
    changes), and at the end result, failed or cancelled.

    Args:
        job_id: RQ's.
        url: of RQ's Redis; default the setting `rq_url`, else the engine's.

    Raises:
        UnknownJob: RQ has no such job.
        Unavailable: the engine does not answer.
    """
    if url is None:
        settings = load().settings
        url = settings.rq_url or settings.broker.partition("?")[0]
    watcher = _watchers.get(url) or _watchers.setdefault(url, Watcher(url))
    return watcher.watch(job_id)


class Watcher:
    """Asks one RQ for all jobs that are watched in this process.

    Args:
        url: of its Redis.
    """

    def __init__(self, url: str) -> None:
        self._connection = Redis.from_url(url, socket_timeout=10)
        self._seen: dict[str, tuple[str, bytes]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def watch(self, job_id: str) -> str:
        stream = f"rq/{job_id}"
        try:
            job = Job.fetch(job_id, connection=self._connection)
        except NoSuchJobError as exc:
            raise UnknownJob(f"RQ has no job {job_id}: it never existed, or its time to live is over") from exc
        if not self._look(job_id, job):
            return stream
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="headgate-rq-watch", daemon=True)
                self._thread.start()
        return stream

    def _work(self) -> None:
        while True:
            time.sleep(EVERY)
            ids = list(self._seen)
            with self._lock:
                if not ids and not self._seen:
                    self._thread = None
                    return
            try:
                for job_id, job in zip(ids, Job.fetch_many(ids, connection=self._connection), strict=True):
                    self._look(job_id, job)
            except (RedisError, HeadgateError) as exc:
                log.warning("RQ's jobs cannot be followed for the moment: %s", exc)

    def _look(self, job_id: str, job: Job | None) -> bool:
        """Tell what is new of a job; False if nothing more will come."""
        status = "gone" if job is None else str(job.get_status(refresh=False).value)
        meta = b"" if job is None else _packed(job.meta)
        before, known = self._seen.get(job_id, ("", _packed({})))
        if before == status and known == meta:
            return True
        self._seen[job_id] = (status, meta)
        if status not in WAITING and before in ("", *WAITING):
            self._tell(job_id, "1", NewEvent("queued", {}))
            self._tell(job_id, "2", NewEvent("started", {}))
        elif status in WAITING and not before:
            self._tell(job_id, "1", NewEvent("queued", {}))
        if meta != known and job is not None:
            self._tell(job_id, f"3{time.time_ns():020d}", NewEvent("progress", msgspec.Raw(meta)))
        if status in ENDED or job is None:
            self._tell(job_id, "9", _end(status, job))
            self._seen.pop(job_id, None)
            return False
        return True

    def _tell(self, job_id: str, place: str, event: NewEvent) -> None:
        # What another process has told already is not greater than what the stream has, and is refused.
        write = Write(events=[event], seq=place, spec=StreamSpec())
        binding.current().engine.write(f"rq/{job_id}", write)


def _end(status: str, job: Job | None) -> NewEvent:
    if job is None:
        return NewEvent("failed", {"type": "Gone", "message": "RQ has forgotten the job"}, terminal=True)
    kind = ENDED[status]
    if kind == "result":
        return NewEvent("result", msgspec.Raw(_packed({"result": job.return_value()})), terminal=True)
    if kind == "cancelled":
        return NewEvent("cancelled", {}, terminal=True)
    latest = job.latest_result()
    lines = str(latest.exc_string if latest is not None else "").strip().splitlines() or ["unknown"]
    name, _, message = lines[-1].partition(": ")
    # The traceback stays with RQ: followers may be anybody.
    return NewEvent("failed", {"type": name.rpartition(".")[2], "message": message}, terminal=True)


def _packed(value: Any) -> bytes:
    # What RQ pickles may be anything; what a follower gets is text then.
    return msgspec.msgpack.encode(value, enc_hook=repr)


_watchers: dict[str, Watcher] = {}
