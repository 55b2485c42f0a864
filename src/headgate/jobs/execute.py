"""Running one job in the main thread: the call, and its outcome as a settlement."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from headgate.base.errors import (
    HeadgateError,
    JobCancelled,
    JobHandedBack,
    JobTimeout,
    LeaseLost,
    ResultTooLarge,
    RetryAsked,
)
from headgate.base.model import Failure, JobRecord, Outcome, Settlement
from headgate.jobs.interrupt import Interrupts
from headgate.jobs.middleware import Layer, onion
from headgate.jobs.run import Run
from headgate.jobs.usage import Meter

log = logging.getLogger("headgate.jobs")

OURS: Final = str(Path(__file__).parents[1])
"""The folder of this package."""


class Function(Protocol):
    """What is needed of a declared job function (`declare.job.JobFunction`)."""

    def call(self, context: Any, args: Any, kwargs: Mapping[str, Any]) -> Any: ...

    def gives_up(self, exc: BaseException) -> bool: ...


class Executor:
    """Runs claims, one at a time.

    Args:
        functions: declared job functions by name.
        context: makes the job's context from its record and its side.
        interrupts: of the main thread.
        result_bytes: the greatest result.
        layers: what is laid around every job, the outermost first.
    """

    def __init__(
        self,
        functions: Mapping[str, Function],
        context: Callable[[JobRecord, Run], Any],
        interrupts: Interrupts,
        result_bytes: int,
        layers: Sequence[Layer] = (),
    ) -> None:
        self._functions = functions
        self._context = context
        self._interrupts = interrupts
        self._result_bytes = result_bytes
        self._around = onion(layers)
        self._meter = Meter()
        self.proven: set[str] = set()
        """Functions that have returned in this process: none of them kills it at its first line."""

    def __call__(self, run: Run) -> Settlement:
        """Run it to its end, whatever that is."""
        if run.cancel_requested or run.lost:
            return Settlement(id=run.id, epoch=run.epoch, outcome=Outcome.CANCELLED)
        self._meter.start()
        run.began = time.monotonic()
        try:
            with self._interrupts.armed():
                result = self._call(run)
            settlement = self._succeeded(run, result)
        except BaseException as exc:
            settlement = self._ended(run, exc)
        used = self._meter.read()
        run.ended = time.monotonic()
        return msgspec.structs.replace(settlement, cpu=used.cpu, peak_rss=used.peak_rss)

    def _call(self, run: Run) -> bytes:
        spec = run.claim.job.spec
        function = self._functions[spec.function]
        args, kwargs = msgspec.msgpack.decode(spec.arguments)
        context = self._context(run.claim.job, run)
        value = self._around(context, lambda: function.call(context, args, kwargs))
        self.proven.add(spec.function)
        return self._packed(value)

    def _packed(self, value: Any) -> bytes:
        try:
            packed = msgspec.msgpack.encode(value)
        except (TypeError, ValueError, OverflowError) as exc:
            raise BadResult(
                f"the job was done, but its result cannot be sent: {exc}. "
                "Return None, numbers, text, bytes, lists, dicts, dataclasses or msgspec structs"
            ) from None
        if len(packed) > self._result_bytes:
            raise ResultTooLarge(
                f"the job was done, but its result has {len(packed)} bytes and may have {self._result_bytes}; "
                "store it elsewhere and return where, or raise job_result_bytes"
            )
        return packed

    def _succeeded(self, run: Run, result: bytes) -> Settlement:
        return Settlement(id=run.id, epoch=run.epoch, outcome=Outcome.SUCCEEDED, result=result)

    def _ended(self, run: Run, exc: BaseException) -> Settlement:
        cause: BaseException = exc
        if isinstance(exc, asyncio.CancelledError) and self._interrupts.error is not None:
            cause = self._interrupts.error
        outcome = self._outcome(run, cause)
        if isinstance(cause, RetryAsked):
            return Settlement(id=run.id, epoch=run.epoch, outcome=outcome, delay=cause.delay)
        failure = None if outcome is Outcome.RELEASED else describe(cause, exc)
        if failure is not None and outcome is not Outcome.CANCELLED:
            self._tell(run, failure)
        return Settlement(id=run.id, epoch=run.epoch, outcome=outcome, failure=failure)

    def _tell(self, run: Run, failure: Failure) -> None:
        """The log of the server hears of a failure too: whoever watches it would take silence for success."""
        job = run.claim.job
        log.error(
            "job %s of %s failed in try %d: %s: %s (headgate jobs show %s)\n%s",
            run.id, job.spec.function, job.tries, failure.type, failure.message, run.id, failure.traceback.rstrip(),
        )  # fmt: skip

    def _outcome(self, run: Run, exc: BaseException) -> Outcome:
        if isinstance(exc, JobHandedBack | LeaseLost):
            return Outcome.RELEASED
        if isinstance(exc, RetryAsked):
            return Outcome.RETRY
        if isinstance(exc, JobCancelled) and run.cancel_requested:
            return Outcome.CANCELLED
        if isinstance(exc, ResultTooLarge | BadResult):
            return Outcome.GIVE_UP
        function = self._functions.get(run.claim.job.spec.function)
        if isinstance(exc, JobTimeout) or function is None:
            return Outcome.FAILED
        return Outcome.GIVE_UP if function.gives_up(exc) else Outcome.FAILED


class BadResult(HeadgateError):
    """A job returned what cannot be serialised; the work itself was done."""


def describe(exc: BaseException, raised: BaseException | None = None) -> Failure:
    """An exception as a record keeps it; of its traceback what is the user's, not ours."""
    kind = type(exc)
    named = kind.__module__ == "builtins" or isinstance(exc, HeadgateError)
    name = kind.__qualname__ if named else f"{kind.__module__}.{kind.__qualname__}"
    return Failure(name, _bounded(str(exc), 2_000), _bounded(_traceback(raised or exc), 32_000))


def _traceback(exc: BaseException) -> str:
    told = traceback.TracebackException.from_exception(exc)
    theirs = [frame for frame in told.stack if not frame.filename.startswith(OURS)]
    told.stack = traceback.StackSummary.from_list(theirs[-50:] or told.stack)
    return "".join(told.format())


def _bounded(text: str, most: int) -> str:
    return (
        text
        if len(text) <= most
        else f"{text[: most // 2]}\n… {len(text) - most} characters left out …\n{text[-most // 2 :]}"
    )
