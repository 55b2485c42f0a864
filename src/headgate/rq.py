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
from rq.serializers import DefaultSerializer

from headgate.base.errors import ConfigError, HeadgateError, UnknownJob
from headgate.base.model import NewEvent
from headgate.base.streams import StreamSpec, Write
from headgate.declare import binding

log = logging.getLogger(__name__)

EVERY: Final = 0.25
"""Seconds between two looks."""
WAITING: Final = ("created", "queued", "deferred", "scheduled")
ENDED: Final = {"finished": "result", "failed": "failed", "stopped": "cancelled", "canceled": "cancelled"}


def watch(job_id: str, *, url: str | None = None) -> str:
    """Follow an RQ job from now on; returns the name of its stream, for `sock.follow` and the like.

    The stream has the events of a Headgate job: queued, started, progress (the job's `meta` whenever that
    changes), and at the end result, failed or cancelled; or gone, if RQ has forgotten the job before its end was seen.

    Args:
        job_id: RQ's.
        url: of RQ's Redis; default the setting `rq_url`, else the engine's.

    Raises:
        ConfigError: neither is known in this process.
        UnknownJob: RQ has no such job.
        Unavailable: the engine does not answer.
    """
    url = url or binding.current().rq_url
    if not url:
        raise ConfigError("RQ's Redis is not known here: set rq_url, or pass its url to watch()")
    watcher = _watchers.get(url) or _watchers.setdefault(url, Watcher(url))
    return watcher.watch(job_id)


class Readable:
    """RQ's way to keep values, for a process that may lack the code which they are of."""

    dumps: Final = DefaultSerializer.dumps

    @staticmethod
    def loads(data: bytes) -> Any:
        """The value, or a word about why it cannot be read."""
        try:
            return DefaultSerializer.loads(data)
        except Exception as exc:  # a pickle runs what it likes
            return f"it cannot be read here: {type(exc).__name__}: {exc}"


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
            job = Job.fetch(job_id, connection=self._connection, serializer=Readable)
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
                jobs = Job.fetch_many(ids, connection=self._connection, serializer=Readable)
                for job_id, job in zip(ids, jobs, strict=True):
                    self._look_at(job_id, job)
            except (RedisError, HeadgateError) as exc:
                log.warning("RQ's jobs cannot be followed for the moment: %s", exc)
            except (
                Exception
            ):  # whatever is wrong with what RQ says: those that wait for other jobs are not to pay for it
                log.exception("RQ's jobs cannot be followed for the moment")

    def _look_at(self, job_id: str, job: Job | None) -> None:
        try:
            self._look(job_id, job)
        except (RedisError, HeadgateError):
            raise
        except Exception:
            log.exception("RQ's job %s cannot be followed any more", job_id)
            self._seen.pop(job_id, None)

    def _look(self, job_id: str, job: Job | None) -> bool:
        """Tell what is new of a job; False if nothing more will come.

        What is known of it moves on only when it has been told: an engine that was away is told at the next look.
        """
        status = "gone" if job is None else str(job.get_status(refresh=False).value)
        before, known = self._seen.get(job_id, ("", _packed({})))
        meta = known if job is None else _packed(job.meta)
        if before == status and known == meta:
            return True
        if not before:
            self._tell(job_id, "1", NewEvent("queued", {}))
        if status not in WAITING and job is not None and before in ("", *WAITING):
            self._tell(job_id, "2", NewEvent("started", {}))
        if meta != known:
            self._tell(job_id, f"3{time.time_ns():020d}", NewEvent("progress", msgspec.Raw(meta)))
            self._seen[job_id] = (before, meta)
        if status in ENDED or job is None:
            self._tell(job_id, "9", _end(status, job))
            self._seen.pop(job_id, None)
            return False
        self._seen[job_id] = (status, meta)
        return True

    def _tell(self, job_id: str, place: str, event: NewEvent) -> None:
        # What another process has told already is not greater than what the stream has, and is refused.
        write = Write(events=[event], seq=place, spec=StreamSpec())
        binding.current().engine.write(f"rq/{job_id}", write)


def _end(status: str, job: Job | None) -> NewEvent:
    if job is None:
        return NewEvent("gone", {"reason": "RQ has forgotten the job; how it ended is not known"}, terminal=True)
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
    try:
        return msgspec.msgpack.encode(value, enc_hook=repr)
    except Exception:  # a number that is too large, a list that holds itself, a repr that raises
        return msgspec.msgpack.encode(f"a {type(value).__name__} that cannot be told")


_watchers: dict[str, Watcher] = {}
