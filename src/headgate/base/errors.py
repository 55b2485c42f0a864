"""Every error that Headgate raises on purpose.

    HeadgateError
     ├─ ConfigError            a setting, flag or file is wrong (also: an app that cannot be found)
     ├─ Unavailable            a part that is needed does not answer (broker down, link lost)
     │   └─ EngineGone         the broker's answer to a request will never come; it may have been carried out
     ├─ Full                   a bound is reached; nothing was done; `retry_after` says when to try again
     │   └─ QueueFull          a job queue is at its depth
     ├─ JobError
     │   ├─ UnknownJob         no job with this id (or its record has expired)
     │   ├─ BadArguments       job arguments that cannot be serialised or do not fit the function
     │   ├─ ResultTooLarge     a job returned more than `job_result_bytes`
     │   ├─ JobTimeout         raised inside a job that has run past its timeout
     │   ├─ JobCancelled       raised inside a job that was cancelled; and by waiting for a cancelled one
     │   ├─ JobHandedBack      raised inside a job whose worker must stop before it ends; it runs again
     │   ├─ RetryAsked         raised by job.retry(): the job ends this try and is run again later
     │   ├─ JobFailed          raised by waiting for a job that has failed for good
     │   └─ WrongState         the order does not fit the job's state (cancel a finished job)
     ├─ LeaseLost              the job worker's hold on a job has passed to another
     ├─ StreamError
     │   ├─ UnknownStream
     │   └─ StreamEnded        an append after the terminal record
     ├─ TooLarge               what is to be sent is larger than its bound; nothing was done
     ├─ ProtocolError          a peer sent what the protocol does not allow
     └─ NotHosted              the call needs a Headgate process around it (a socket effect, say)

A message says what happened, why, and what to do.
"""

from __future__ import annotations


class HeadgateError(Exception):
    """The base of all errors raised by Headgate itself."""


class ConfigError(HeadgateError):
    """A setting, a flag, a file or the app's address is wrong; nothing was started."""


class Unavailable(HeadgateError):
    """A part that the call needs does not answer now; trying again later may work."""


class EngineGone(Unavailable):
    """The connection to the engine broke with the request under way; it may have been carried out."""


class Full(HeadgateError):
    """A bound is reached and nothing was done.

    Args:
        message: what is full, its bound, and what to do.
        retry_after: seconds after which trying again makes sense.
    """

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFull(Full):
    """The job queue holds as many jobs as its depth allows."""


class JobError(HeadgateError):
    """Something about one job."""


class UnknownJob(JobError):
    """There is no job with this id, or its record has passed its time to live."""


class BadArguments(JobError):
    """The arguments cannot be serialised, or do not fit the job's function; nothing was enqueued."""


class ResultTooLarge(JobError):
    """The job's result is larger than the `job_result_bytes` setting; the work itself was done."""


class JobTimeout(JobError):
    """Raised inside a job that has run past its timeout."""


class JobCancelled(JobError):
    """Raised inside a job whose cancellation was asked for."""


class JobFailed(JobError):
    """The job that was waited for has failed for good.

    Args:
        job_id: the job.
        kind: the type of the exception that ended its last try.
        reason: that exception's text.
        traceback: its traceback as text, empty if none was recorded.
    """

    def __init__(self, job_id: str, kind: str, reason: str, traceback: str = "") -> None:
        super().__init__(
            f"job {job_id} failed with {kind}: {reason}; `headgate jobs show {job_id}` has its traceback and tries"
        )
        self.job_id = job_id
        self.kind = kind
        self.reason = reason
        self.traceback = traceback


class RetryAsked(JobError):
    """Raised by `job.retry()` to end the try and begin another one later; not a failure.

    Args:
        delay: seconds until then.
    """

    def __init__(self, delay: float) -> None:
        super().__init__(f"the job asked to be run again in {delay:g} s")
        self.delay = delay


class JobHandedBack(JobError):
    """Raised inside a job whose worker stops before the job can end; it goes back to its queue, the try not counted."""


class WrongState(JobError):
    """The order does not fit the state that the job is in."""


class LeaseLost(HeadgateError):
    """The hold on a job has passed to another job worker; what this one reports is refused."""


class StreamError(HeadgateError):
    """Something about one stream."""


class UnknownStream(StreamError):
    """There is no stream with this name, or its time is over."""


class StreamEnded(StreamError):
    """The stream has its terminal record; nothing can be appended."""


class TooLarge(HeadgateError):
    """What is to be sent is larger than its bound; nothing was done."""


class StreamConflict(StreamError):
    """The stream, or the one it is to begin with, is not in a state for this."""


class BadOffset(StreamError):
    """There is no such position in the stream."""


class ProtocolError(HeadgateError):
    """A peer sent what the protocol does not allow; the connection to it is given up."""


class NotHosted(HeadgateError):
    """The call needs a Headgate process around it and there is none here."""
