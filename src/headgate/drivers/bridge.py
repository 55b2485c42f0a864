"""The engine for threads: a loop of its own in the background, and blocking calls.

The hand-off is one callback into the loop and one lock to wait on; no executor, no condition variable.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from headgate.base.errors import NotHosted, Unavailable
from headgate.base.model import START, Batch, Event, JobRecord, JobSpec, JobState, NewEvent, Receipt
from headgate.base.ports import Engine
from headgate.base.streams import Write, Written

T = TypeVar("T")


class _Call(Generic[T]):
    """One call on its way to the loop and back."""

    def __init__(self, start: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._start = start
        self._done = threading.Lock()
        self._done.acquire()
        self._task: asyncio.Task[T] | None = None
        self._value: T
        self._error: BaseException | None = None

    def begin(self) -> None:
        """On the loop."""
        self._task = asyncio.get_running_loop().create_task(self._start())
        self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        """On the loop."""
        if self._task is not None:
            self._task.cancel()

    def fail(self, error: BaseException) -> None:
        """Once the loop has ended; a call that has ended with it keeps its own outcome."""
        if self._task is None or not self._task.done():
            self._error = error
            self._done.release()

    def wait(self, timeout: float | None) -> T:
        """In the calling thread."""
        if not self._done.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            raise TimeoutError(f"no answer within {timeout} s")
        if self._error is not None:
            raise self._error
        return self._value

    def _end(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self._error = Unavailable("the call was given up: the connection to the engine is being closed")
        elif (error := task.exception()) is not None:
            self._error = error
        else:
            self._value = task.result()
        self._done.release()


class Bridge:
    """An engine's calls, blocking, for any thread.

    Args:
        engine: not yet open; it lives on the bridge's loop from `open` on.
        new_loop: makes the event loop.
    """

    def __init__(
        self, engine: Engine, *, new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    ) -> None:
        self.engine = engine
        self._loop = new_loop()
        self._thread = threading.Thread(target=self._serve, name="headgate-bridge", daemon=True)
        self._calls: set[_Call[Any]] = set()
        self._closed = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The bridge's loop, for a role that has work of its own to do there."""
        return self._loop

    def open(self) -> None:
        """Start the loop and connect.

        Raises:
            Unavailable: the engine does not answer.
        """
        self._thread.start()
        try:
            self.call(self.engine.open)
        except BaseException:
            self._stop()
            raise

    def close(self) -> None:
        """Disconnect and end the loop; calls under way fail."""
        if self._closed or not self._thread.is_alive():
            return
        self.call(self.engine.close, timeout=5.0)
        self._stop()

    def call(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any, timeout: float | None = None) -> T:
        """Run a coroutine function on the bridge's loop and wait for it in this thread.

        Raises:
            NotHosted: called on the bridge's own loop, which would wait for itself.
            TimeoutError: no answer within `timeout` seconds; the call is cancelled.
        """
        if threading.get_ident() == self._thread.ident:
            raise NotHosted("a blocking call was made on the engine's own event loop; use the async ports there")
        call = _Call(lambda: function(*args))
        self._calls.add(call)
        try:
            self._loop.call_soon_threadsafe(call.begin)
        except RuntimeError as exc:
            self._calls.discard(call)
            raise Unavailable("the connection to the engine is closed") from exc
        try:
            return call.wait(timeout)
        except BaseException:
            self._soon(call.cancel)
            raise
        finally:
            self._calls.discard(call)

    def put(self, specs: Sequence[JobSpec]) -> Sequence[Receipt]:
        return self.call(self.engine.sink.put, specs)

    def get(self, job_id: str) -> JobRecord | None:
        return self.call(self.engine.jobs.get, job_id)

    def find(self, **wanted: Any) -> Sequence[JobRecord]:
        return self.call(lambda: self.engine.jobs.find(**wanted))

    def cancel(self, job_id: str) -> JobState:
        return self.call(self.engine.jobs.cancel, job_id)

    def retry(self, job_id: str) -> JobState:
        return self.call(self.engine.jobs.retry, job_id)

    def stats(self) -> Mapping[str, Mapping[str, int]]:
        return self.call(self.engine.jobs.stats)

    def append(self, stream: str, events: Sequence[NewEvent]) -> int:
        return self.call(self.engine.streams.append, stream, events)

    def write(self, stream: str, write: Write) -> Written:
        return self.call(self.engine.streams.write, stream, write)

    def delete(self, stream: str) -> None:
        self.call(self.engine.streams.delete, stream)

    def read(self, stream: str, after: int = START, most: int = 1000) -> Batch:
        return self.call(self.engine.streams.read, stream, after, most)

    def publish(self, channel: str, payload: bytes) -> None:
        self.call(self.engine.channels.publish, channel, payload)

    def follow(
        self, stream: str, after: int = START, *, timeout: float | None = None, until: float | None = None
    ) -> Iterator[Event]:
        """Every event after an offset, to the terminal one.

        Args:
            timeout: seconds to wait for the next event; None for ever.
            until: the moment (`time.monotonic`) by which it must have come, however many came before; instead.

        Raises:
            UnknownStream; TimeoutError: no event came in time.
        """
        events = self.engine.streams.follow(stream, after)
        try:
            while True:
                left = timeout if until is None else max(0.0, until - time.monotonic())
                event = self.call(_next, events, timeout=left)
                if event is None:
                    return
                yield event
        finally:
            if not self._closed:
                self._soon(lambda: self._loop.create_task(_aclose(events)))

    def _soon(self, callback: Callable[[], object]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback)

    def _stop(self) -> None:
        self._closed = True
        self._soon(self._loop.stop)
        self._thread.join(5.0)
        for call in list(self._calls):
            call.fail(Unavailable("the connection to the engine was closed while the call waited"))

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        finally:
            self._loop.close()


async def _next(events: Any) -> Event | None:
    try:
        event: Event = await anext(events)
    except StopAsyncIteration:
        return None
    return event


async def _aclose(events: Any) -> None:
    await events.aclose()
