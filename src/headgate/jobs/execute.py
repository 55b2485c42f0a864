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
from headgate.declare.job import Batching
from headgate.jobs.interrupt import Interrupts
from headgate.jobs.middleware import Layer, onion
from headgate.jobs.run import Run, Work
from headgate.jobs.usage import Meter

log = logging.getLogger("headgate.jobs")

OURS: Final = str(Path(__file__).parents[1])
"""The folder of this package."""


class Function(Protocol):
    """What is needed of a declared job function (`declare.job.JobFunction`)."""

    batching: Batching | None
    """How it takes lists, if it does."""

    def arguments(self, raw: bytes) -> tuple[Any, Mapping[str, Any]]:
        """What was stored, as positional and named arguments."""

    def call(self, context: Any, args: Any, kwargs: Mapping[str, Any]) -> Any: ...

    def together(self, contexts: Sequence[Any]) -> Any:
        """The contexts of a list of jobs as one."""

    def call_together(self, context: Any, calls: Sequence[tuple[Any, Mapping[str, Any]]]) -> Sequence[Any]:
        """One call for a list of jobs: their results in order; an exception among them is that job's failure."""

    def gives_up(self, exc: BaseException) -> bool: ...


class Executor:
    """Runs work, one call at a time.

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

    def __call__(self, work: Work) -> list[Settlement]:
        """Run it to its end, whatever that is; a settlement for each of its jobs, in their order."""
        wanted = [run for run in work.runs if not (run.cancel_requested or run.lost)]
        done = {run: Settlement(id=run.id, epoch=run.epoch, outcome=Outcome.CANCELLED) for run in work.runs}
        if wanted:
            done |= self._measured(work, wanted)
        for run in work.runs:
            run.ended = True
        return list(done.values())

    def _measured(self, work: Work, wanted: Sequence[Run]) -> dict[Run, Settlement]:
        self._meter.start()
        work.began = time.monotonic()
        try:
            with self._interrupts.armed():
                settled = self._call_together(wanted) if work.batched else [self._call(wanted[0])]
        except BaseException as exc:
            settled = [self._ended(run, exc) for run in wanted]
        used = self._meter.read()
        work.ended = time.monotonic()
        cpu = used.cpu / len(wanted)
        return {
            run: msgspec.structs.replace(said, cpu=cpu, peak_rss=used.peak_rss)
            for run, said in zip(wanted, settled, strict=True)
        }

    def _call(self, run: Run) -> Settlement:
        spec = run.claim.job.spec
        function = self._functions[spec.function]
        args, kwargs = function.arguments(spec.arguments)
        context = self._context(run.claim.job, run)
        value = self._around(context, lambda: function.call(context, args, kwargs))
        return self._succeeded(run, self._packed(value))

    def _call_together(self, runs: Sequence[Run]) -> list[Settlement]:
        function = self._functions[runs[0].claim.job.spec.function]
        calls = [function.arguments(run.claim.job.spec.arguments) for run in runs]
        context = function.together([self._context(run.claim.job, run) for run in runs])
        values = self._around(context, lambda: function.call_together(context, calls))
        return [self._one_of(run, value) for run, value in zip(runs, values, strict=True)]

    def _one_of(self, run: Run, value: Any) -> Settlement:
        if isinstance(value, BaseException):
            return self._ended(run, value)
        try:
            return self._succeeded(run, self._packed(value))
        except HeadgateError as exc:
            return self._ended(run, exc)

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
    return Failure(name, _bounded(_said(exc), 2_000), _bounded(_traceback(raised or exc), 32_000))


def _said(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception as wrong:
        return f"(its own text cannot be made: {type(wrong).__name__})"


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
