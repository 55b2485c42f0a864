"""One watched process of the matrix: `desk.py KIND FOLDER ADDRESSES SHIFT` runs every block on one kind of loop.

It writes down by its own clock when each block began and ended: what the watch says is held against that.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.watch.blocks import BLOCKS, ELSEWHERE, HOGGED, MANY, NAMES, Bench, held_elsewhere, prepare, small

PAUSE = 0.12
QUIET = "quiet"
COUNT = 10


class Book:
    """What really happened."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")

    def note(self, name: str, begin: int, end: int) -> None:
        self._file.write(json.dumps({"name": name, "begin": begin, "end": end}) + "\n")
        self._file.flush()

    def time(self, name: str, call: Callable[[], object]) -> None:
        begin = time.monotonic_ns()
        call()
        self.note(name, begin, time.monotonic_ns())

    def hogged(self) -> None:
        """The lock was held elsewhere: its holder's own times."""
        for begin, end in HOGGED:
            self.note(ELSEWHERE, begin, end)


def run_asyncio(bench: Bench, book: Book, order: list[str]) -> None:
    import asyncio

    async def desk() -> None:
        await settle(asyncio.sleep, book)
        for name in order:
            prepare(name, bench)
            await asyncio.sleep(PAUSE)
            if name in BLOCKS:
                book.time(name, lambda: BLOCKS[name](bench))  # noqa: B023 - called at once
            elif name == MANY:
                begin = time.monotonic_ns()
                await asyncio.gather(*[one() for _ in range(COUNT)])
                book.note(name, begin, time.monotonic_ns())
            else:
                thread = held_elsewhere(bench)
                while thread.is_alive():  # noqa: ASYNC110 - a loop that turns while it waits is the point
                    await asyncio.sleep(0.01)
            await asyncio.sleep(PAUSE)

    async def one() -> None:
        small()

    asyncio.run(desk())


def run_uvloop(bench: Bench, book: Book, order: list[str]) -> None:
    import asyncio

    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    run_asyncio(bench, book, order)


def run_eventlet(bench: Bench, book: Book, order: list[str]) -> None:
    import eventlet

    pool = eventlet.GreenPool()
    pool.spawn(
        _green, eventlet.sleep, eventlet.spawn, lambda greens: [green.wait() for green in greens], bench, book, order
    )
    pool.waitall()


def run_gevent(bench: Bench, book: Book, order: list[str]) -> None:
    import gevent

    gevent.spawn(_green, gevent.sleep, gevent.spawn, gevent.joinall, bench, book, order).join()


def _green(
    sleep: Callable[[float], object],
    spawn: Callable[..., Any],
    join: Callable[[list[Any]], object],
    bench: Bench,
    book: Book,
    order: list[str],
) -> None:
    quiet_green(sleep, book)
    for name in order:
        prepare(name, bench)
        sleep(PAUSE)
        if name in BLOCKS:
            book.time(name, lambda: BLOCKS[name](bench))  # noqa: B023 - called at once
        elif name == MANY:
            begin = time.monotonic_ns()
            join([spawn(small) for _ in range(COUNT)])
            book.note(name, begin, time.monotonic_ns())
        else:
            thread = held_elsewhere(bench)
            while thread.is_alive():
                sleep(0.01)
        sleep(PAUSE)


def run_thread(bench: Bench, book: Book, order: list[str]) -> None:
    from headgate.watch.install import current
    from headgate.watch.threads import HandlerThreads

    watch = current()
    assert watch is not None
    threads = HandlerThreads(watch)
    quiet_green(time.sleep, book)
    for name in order:
        prepare(name, bench)
        time.sleep(PAUSE)
        threads.begin(f"GET /{name}", f"request-{name}")
        if name in BLOCKS:
            book.time(name, lambda: BLOCKS[name](bench))  # noqa: B023 - called at once
        elif name == MANY:
            book.time(name, many_small)
        else:
            held_elsewhere(bench).join()
        threads.end()
        time.sleep(PAUSE)


def many_small() -> None:
    """One after another: a thread has no turns."""
    for _ in range(COUNT):
        small()


async def settle(sleep: Callable[[float], Any], book: Book) -> None:
    """A second of work that blocks nobody."""
    begin = time.monotonic_ns()
    for number in range(40):
        sum(range(20_000 + number))
        await sleep(0.02)
    book.note(QUIET, begin, time.monotonic_ns())


def quiet_green(sleep: Callable[[float], object], book: Book) -> None:
    """The same for green threads."""
    begin = time.monotonic_ns()
    for number in range(40):
        sum(range(20_000 + number))
        sleep(0.02)
    book.note(QUIET, begin, time.monotonic_ns())


DESKS = {
    "asyncio": run_asyncio,
    "uvloop": run_uvloop,
    "eventlet": run_eventlet,
    "gevent": run_gevent,
    "thread": run_thread,
}


def main(kind: str, folder: str, addresses: str, shift: str, only: str = "") -> None:
    """Run the desk of a kind; `shift` turns the order, so that desks side by side do different things."""
    warnings.simplefilter("ignore")
    bench = Bench(Path(folder), json.loads(addresses))
    names = [name for name in NAMES if not only or name in only.split(",")]
    at = int(shift) % len(names)
    book = Book(Path(folder) / f"{kind}.truth")
    DESKS[kind](bench, book, [*names[at:], *names[:at]])
    book.hogged()


if __name__ == "__main__":
    main(*sys.argv[1:])
