"""The matrix's desk under a peer's detector: marks on standard error say which block runs."""

from __future__ import annotations

import contextlib
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from bench.watch import detectors
from tests.watch import blocks, desk
from tests.watch.blocks import Bench


class Marks(desk.Book):
    """Writes marks instead of a book; a detector that raises in the block has seen it."""

    def time(self, name: str, call: Callable[[], object]) -> None:
        mark(name, "begin")
        try:
            call()
        except BaseException as exc:
            import traceback

            traceback.print_exception(exc, file=sys.stderr)
        finish(name)

    def note(self, name: str, begin: int, end: int) -> None:
        if name != desk.QUIET:
            finish(name)


def mark(name: str, what: str) -> None:
    """A mark with the wall clock."""
    print(f"@@ {name} {what} {time.time_ns()}", file=sys.stderr, flush=True)


def finish(name: str) -> None:
    """What a detector says right after the block belongs to it: the mark comes when the desk turns to the next."""
    OPEN.append(name)


OPEN: list[str] = []


def main(detector: str, kind: str, folder: str, addresses: str, names: str) -> None:
    """Run the desk with these blocks; a detector that raises may end it, and the next desk goes on."""
    warnings.simplefilter("ignore")
    detectors.before(detector)
    bench = Bench(Path(folder), json.loads(addresses))
    prepare = blocks.prepare

    def prepared(name: str, bench: Bench) -> None:
        while OPEN:
            mark(OPEN.pop(0), "end")
        BEGUN.append(name)
        if not KEPT:
            KEPT.append(detectors.inside(detector))
        prepare(name, bench)
        if name in (blocks.MANY, blocks.ELSEWHERE):
            mark(name, "begin")

    vars(desk)["prepare"] = prepared
    with contextlib.suppress(BaseException):
        desk.DESKS[kind](bench, Marks(Path(folder) / "book"), names.split(","))
    for name in [*OPEN, *BEGUN[-1:]]:
        mark(name, "end")


KEPT: list[object] = []
BEGUN: list[str] = []

if __name__ == "__main__":
    main(*sys.argv[1:])
