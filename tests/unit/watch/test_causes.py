"""Why a line did not turn: a table of what was measured and what it means."""

from __future__ import annotations

import pytest

from headgate.watch import model
from headgate.watch.causes import cause, stood_still
from headgate.watch.model import Sample, Stall
from headgate.watch.stacks import Frame, Stack

MS = 1_000_000
USER = (Frame("/srv/app/orders.py", 41, "pay"), Frame("/srv/app/main.py", 7, "serve"))
IMPORTING = (Frame("<frozen importlib._bootstrap>", 1, "_find_and_load"), *USER)
DEBUGGER = (Frame("/usr/lib/python3.11/pdb.py", 1, "Pdb.cmdloop"), *USER)
WAITING = (Frame("/usr/lib/python3.11/threading.py", 320, "Condition.wait"), *USER)


def samples(count: int, stack: Stack = USER, *, roots: int = 1, **more: object) -> list[Sample]:
    """Samples 20 ms apart."""
    made = [Sample((number + 2) * 20 * MS, stack, root=1 + number * roots // count) for number in range(count)]
    for each in made:
        for key, value in more.items():
            setattr(each, key, value)
    return made


def stall(length: int = 300, **more: object) -> Stall:
    """A stall of so many milliseconds."""
    made = Stall(0, length * MS, "asyncio", "asyncio", limit=100 * MS, samples=samples(12))
    for key, value in more.items():
        setattr(made, key, value * MS if isinstance(value, int) and not isinstance(value, bool) else value)
    return made


TABLE = {
    "a thread asleep": (stall(), model.BLOCKING),
    "asleep in a lock of Python": (stall(samples=samples(5, WAITING, sleeping="futex")), model.LOCK),
    "asleep in a bare lock": (stall(samples=samples(5, call="_thread.lock.acquire", sleeping="futex")), model.LOCK),
    "asleep in C, in a futex": (stall(samples=samples(5, call="driver.run", sleeping="futex")), model.BLOCKING),
    "computing": (stall(cpu=290), model.COMPUTING),
    "computing, with half a CPU": (stall(cpu=150, queued=150), model.COMPUTING),
    "computing, with a tenth of a CPU, and long": (stall(3000, cpu=290, queued=2700), model.COMPUTING),
    "ready to run, and no CPU": (stall(cpu=60, queued=240), model.STARVED),
    "asleep, on a busy machine": (stall(queued=40), model.BLOCKING),
    "a garbage collection": (stall(cpu=290, gc=280), model.GC),
    "a garbage collection without much CPU": (stall(1000, cpu=250, gc=990, queued=740), model.GC),
    "an import": (stall(samples=samples(8, IMPORTING), cpu=250), model.IMPORT),
    "ten callbacks": (stall(samples=samples(12, roots=10)), model.OVERLOAD),
    "two callbacks": (stall(samples=samples(12, roots=2)), model.BLOCKING),
    "another thread with the interpreter lock": (
        stall(held=290, samples=samples(3, foreign=True, outside=True, holds=True)),
        model.GIL,
    ),
    "itself with the interpreter lock, asleep": (
        stall(held=290, samples=samples(3, outside=True, holds=True)),
        model.BLOCKING,
    ),
    "itself with the interpreter lock, computing": (
        stall(held=290, cpu=280, samples=samples(3, outside=True, holds=True)),
        model.COMPUTING,
    ),
    "the lock held, seen by nobody": (stall(held=290, samples=[]), model.GIL),
    "nothing known": (stall(samples=[]), model.UNKNOWN),
    "at a breakpoint": (stall(samples=samples(9, DEBUGGER)), model.DEBUGGER),
    "under gdb": (stall(debugged=True), model.DEBUGGER),
    "stopped by a signal": (stall(stopped=True, samples=[]), model.STOPPED),
}


@pytest.mark.parametrize("name", TABLE)
def test_each_measure_has_its_cause(name: str) -> None:
    measured, expected = TABLE[name]
    assert cause(measured) == expected


@pytest.mark.parametrize(
    ("gap", "switches", "still"),
    [
        (300, 58, False),  # asked for the lock each 5 ms
        (300, 12, False),  # the same, on a machine that is busy
        (300, 1, True),  # slept once: SIGSTOP, suspend
        (60, 3, True),  # too short to tell: nobody is accused
        (60_000, 3, True),
        (60_000, 9_000, False),
    ],
)
def test_a_stopped_process_does_not_ask_for_the_lock(gap: int, switches: int, still: bool) -> None:
    assert stood_still(gap * MS, switches, 5 * MS) is still
