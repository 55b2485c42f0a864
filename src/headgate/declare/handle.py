"""The handle of an enqueued job: its id and URL, its state, and waiting for its result."""

from __future__ import annotations

import sys
import time
from typing import Any

import msgspec

from headgate.base.errors import HeadgateError, JobCancelled, JobFailed, UnknownJob, UnknownStream
from headgate.base.model import START, Event, Failure, JobRecord, JobState, job_stream
from headgate.declare import binding

RETRY_AFTER = 1
"""Seconds after which a client of `accepted()` is told to look again."""


class JobHandle:
    """A job that was accepted: durable before its handle existed.

    Args:
        job_id: the id from its receipt.
        created: False if an idempotency key led to a job that was there already.
    """

    __slots__ = ("created", "id")

    def __init__(self, job_id: str, created: bool = True) -> None:
        self.id = job_id
        self.created = created

    def __repr__(self) -> str:
        return f"<JobHandle {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobHandle) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def stream(self) -> str:
        """The name of the job's stream."""
        return job_stream(self.id)

    @property
    def url(self) -> str:
        """Path and query of the job's own address; signed, so that only its holders may look and cancel.

        Raises:
            NotHosted: this process knows no secret to sign with.
        """
        return binding.current().job_url(self.id)

    @property
    def stream_url(self) -> str:
        """Path and query of the job's stream: progress and result over HTTP, as they come. Signed likewise.

        Raises:
            NotHosted: this process knows no secret to sign with.
        """
        return binding.current().stream_url(self.stream)

    def accepted(self) -> Any:
        """The HTTP answer 202 (RFC 9110 §15.3.3) with Location and Retry-After, for a view to return.

        Returns:
            a Flask response inside a Flask app, a Starlette one where Starlette is loaded, else the tuple
            `(body, status, headers)` that Flask and Quart take.
        """
        url = self.url
        body = {"id": self.id, "state": "queued", "url": url, "stream": self.stream_url}
        headers = {"Location": url, "Retry-After": str(RETRY_AFTER)}
        flask = sys.modules.get("flask")
        if flask is not None and flask.has_app_context():
            response = flask.jsonify(body)
            response.status_code = 202
            response.headers.update(headers)
            return response
        starlette = sys.modules.get("starlette.responses")
        if starlette is not None:
            return starlette.JSONResponse(body, 202, headers)
        return body, 202, headers

    def get(self) -> JobRecord:
        """The job as it is now.

        Raises:
            UnknownJob: its record has passed its time to live.
        """
        record: JobRecord | None = binding.current().engine.get(self.id)
        if record is None:
            raise UnknownJob(
                f"there is no job {self.id}: its record was kept for its result_ttl and is gone, "
                "or it belongs to another engine"
            )
        return record

    def cancel(self) -> JobState:
        """Cancel the job if it waits, or ask it to end if it runs; returns the state after the call.

        Raises:
            UnknownJob, WrongState.
        """
        state: JobState = binding.current().engine.cancel(self.id)
        return state

    def wait(self, timeout: float | None = None) -> Any:
        """Wait for the result.

        Args:
            timeout: seconds; None waits for ever.

        Raises:
            JobFailed: the job failed for good; carries the failure.
            JobCancelled: it was cancelled.
            TimeoutError: it has not ended in time (it goes on).
        """
        until = None if timeout is None else time.monotonic() + timeout
        last = self._last_event(until)
        if last is not None and last.kind == "result":
            return last.data["result"]  # it came with the news: no need to ask for it
        return _outcome(self.get())

    def _last_event(self, until: float | None) -> Event | None:
        try:
            for event in binding.current().engine.follow(self.stream, START, until=until):
                if event.terminal:
                    return event
        except UnknownStream:
            return None  # `get` says what is the matter
        except TimeoutError:
            raise TimeoutError(
                f"job {self.id} has not ended in time; it goes on, and can be waited for again"
            ) from None
        return None


def _outcome(record: JobRecord) -> Any:
    if record.state is JobState.SUCCEEDED:
        return None if record.result is None else msgspec.msgpack.decode(record.result)
    if record.state is JobState.CANCELLED:
        raise JobCancelled(f"job {record.id} was cancelled")
    if record.state is JobState.FAILED:
        failure = record.failure or Failure("Unknown", "no reason was recorded")
        raise JobFailed(record.id, failure.type, failure.message, failure.traceback)
    raise HeadgateError(f"the stream of job {record.id} has ended, but the job is {record.state}")
