"""Interrupting the main thread where it waits. pytest runs tests in the main thread, as a worker runs jobs."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from headgate.base.errors import JobTimeout
from headgate.jobs.interrupt import SIGNAL, Interrupts


@pytest.fixture
def interrupts() -> Iterator[Interrupts]:
    before = signal.getsignal(SIGNAL)
    made = Interrupts()
    made.install()
    yield made
    signal.signal(SIGNAL, before)


def later(interrupts: Interrupts, error: JobTimeout, started: threading.Event) -> threading.Thread:
    def send() -> None:
        started.wait(10)
        while not interrupts.send(error):
            time.sleep(0.001)
        while interrupts.send(error):
            time.sleep(0.02)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def armed(interrupts: Interrupts, started: threading.Event, job: Callable[[], object]) -> None:
    with interrupts.armed():
        started.set()
        job()


def test_a_blocking_call_is_interrupted(interrupts: Interrupts) -> None:
    started = threading.Event()
    thread = later(interrupts, JobTimeout("over"), started)
    with pytest.raises(JobTimeout, match="over"):
        armed(interrupts, started, lambda: time.sleep(60))
    thread.join(10)


def test_a_lock_is_interrupted(interrupts: Interrupts) -> None:
    started = threading.Event()
    thread = later(interrupts, JobTimeout("over"), started)
    with pytest.raises(JobTimeout):
        armed(interrupts, started, lambda: threading.Event().wait(60))
    thread.join(10)


def test_an_event_loop_has_its_tasks_cancelled_and_may_clean_up(interrupts: Interrupts) -> None:
    started, cleaned = threading.Event(), threading.Event()
    thread = later(interrupts, JobTimeout("over"), started)

    async def work() -> None:
        try:
            started.set()
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    with pytest.raises(asyncio.CancelledError), interrupts.armed():
        asyncio.run(work())
    thread.join(10)
    assert cleaned.is_set()
    assert isinstance(interrupts.error, JobTimeout)


def test_outside_of_a_job_nothing_is_raised(interrupts: Interrupts) -> None:
    assert not interrupts.send(JobTimeout("too early"))
    with interrupts.armed():
        pass
    signal.raise_signal(SIGNAL)
    assert not interrupts.send(JobTimeout("too late"))


def test_a_job_is_interrupted_once(interrupts: Interrupts) -> None:
    with pytest.raises(JobTimeout, match="first"):
        armed(interrupts, threading.Event(), lambda: interrupts.send(JobTimeout("first")))
    with interrupts.armed():
        assert interrupts.error is None
