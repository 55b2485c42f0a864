"""The matrix: every kind of loop × every kind of blocking call is caught, named, and measured.

Its lengths are held against the blocked process's own clock, so that a slow machine proves as much as a fast one. What
needs a moment of CPU for the observer outside may miss it on a machine that is far too busy; such cells are run again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from headgate.watch import model
from headgate.watch.model import Incident
from tests.support.mariadb import MariaDB
from tests.support.postgres import Postgres
from tests.watch import blocks, desk, matrix
from tests.watch.matrix import Outcome, Truth

pytestmark = pytest.mark.timeout(900)  # deadlines of a machine that is far too busy; it takes half a minute
TRIES = 3


@dataclass(frozen=True)
class Expected:
    """What the watch must say of a block."""

    cause: str
    calls: tuple[str, ...]
    """The ways in which the call may be named."""
    function: str = ""
    """Where, if not in the function of the block's name."""
    statement: str = ""
    url: str = ""
    sleeping: tuple[str, ...] = ()


WAITS = ("poll", "ppoll", "epoll_wait", "epoll_pwait", "recvfrom", "read")
EXPECTED = {
    "time_sleep": Expected(model.BLOCKING, ("time.sleep",), sleeping=("clock_nanosleep", "nanosleep")),
    "requests_get": Expected(model.BLOCKING, ("requests.get",), url="/slow?…", sleeping=WAITS),
    "psycopg2_execute": Expected(
        model.BLOCKING, ("psycopg2.extensions.cursor.execute",), statement="SELECT pg_sleep", sleeping=WAITS
    ),
    "psycopg3_execute": Expected(
        model.BLOCKING, ("psycopg.Connection.execute",), statement="SELECT pg_sleep", sleeping=WAITS
    ),
    "pymysql_execute": Expected(model.BLOCKING, ("pymysql.Cursor.execute",), statement="SELECT SLEEP", sleeping=WAITS),
    "sqlite3_execute": Expected(
        model.COMPUTING, ("sqlite3.Connection.execute",), function="count_rows", statement="WITH RECURSIVE"
    ),
    "lock_acquire": Expected(model.LOCK, ("_thread.lock.acquire",), sleeping=("futex",)),
    "subprocess_run": Expected(model.BLOCKING, ("subprocess.run",), sleeping=("wait4", "waitid", *WAITS)),
    "dns_lookup": Expected(model.BLOCKING, ("socket.getaddrinfo",), url="slow.example.test", sleeping=WAITS),
    "fifo_read": Expected(model.BLOCKING, ("io.open", "open"), sleeping=("openat", "open")),
    "cpu_loop": Expected(model.COMPUTING, ("time.thread_time", "")),
    "hashing": Expected(model.COMPUTING, ("hashlib.pbkdf2_hmac", "_hashlib.pbkdf2_hmac")),
    "backtracking": Expected(model.COMPUTING, ("re.Pattern.match", "bench.pattern.match")),
    "sorting": Expected(model.COMPUTING, ("sorted",)),
    "pydll": Expected(model.BLOCKING, ("holding.usleep", "ctypes.PyDLL.usleep")),
    "collecting": Expected(model.GC, ("gc.collect",)),
    "power": Expected(model.COMPUTING, ("3**bench.power",)),
    blocks.MANY: Expected(model.OVERLOAD, ("time.sleep",), function="small"),
    blocks.ELSEWHERE: Expected(model.GIL, ("holding.usleep", "ctypes.PyDLL.usleep"), function="hog"),
}


@pytest.fixture(scope="module")
def addresses() -> Iterator[dict[str, str]]:
    """The databases that the drivers wait for."""
    with Postgres() as postgres, MariaDB() as mariadb:
        yield {"postgres": postgres.url(), "mariadb": str(mariadb.port), **blocks.sizes()}


@pytest.fixture(scope="module")
def outcomes(addresses: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Outcome]:
    """(kind, block) → what came of it, in the first of three tries that has nothing wrong, or in the last."""
    found: dict[tuple[str, str], Outcome] = {}
    again = list(blocks.NAMES)
    for _ in range(TRIES):
        folder: Path = tmp_path_factory.mktemp("matrix")
        outcome, _log = matrix.run(folder, addresses, "" if len(again) == len(blocks.NAMES) else ",".join(again))
        for kind in desk.DESKS:
            for name in [*again, desk.QUIET]:
                if (kind, name) not in found or problems(kind, name, found[kind, name]):
                    found[kind, name] = outcome[kind]
        again = [name for name in again if any(problems(kind, name, found[kind, name]) for kind in desk.DESKS)]
        if not again:
            break
    return found


@pytest.mark.parametrize("kind", list(desk.DESKS))
@pytest.mark.parametrize("name", blocks.NAMES)
def test_it_is_caught_named_and_measured(outcomes: dict[tuple[str, str], Outcome], kind: str, name: str) -> None:
    assert problems(kind, name, outcomes[kind, name]) == []


@pytest.mark.parametrize("kind", list(desk.DESKS))
def test_work_that_blocks_nobody_is_no_incident(outcomes: dict[tuple[str, str], Outcome], kind: str) -> None:
    starved = (model.STARVED,)  # the machine's doing, and said to be
    assert [each for each in outcomes[kind, desk.QUIET].of(desk.QUIET) if each.cause not in starved] == []


def problems(kind: str, name: str, outcome: Outcome) -> list[str]:
    """What is wrong with what the watch said of a block; nothing if all is right."""
    truth, expected = outcome.truth.get(name), EXPECTED.get(name)
    if truth is None or expected is None:
        return []
    longest = max(outcome.of(name), key=lambda each: each.seconds, default=None)
    if longest is None:
        return [f"{name} on {kind} was not seen; seen: {[each.call for each in outcome.incidents]}"]
    wrong = [*_misnamed(kind, name, expected, longest), *_mismeasured(truth, longest)]
    if wrong:
        account = {key: getattr(longest, key) for key in ("seconds", "cpu", "queued", "held", "gc", "late", "outside")}
        wrong.append(str(account))
    return [f"{name} on {kind}: {what}" for what in wrong]


def _misnamed(kind: str, name: str, expected: Expected, seen: Incident) -> list[str]:
    cause = model.BLOCKING if (kind, name) == ("thread", blocks.MANY) else expected.cause  # a thread has no turns
    pairs = [
        ("kind", seen.kind, (kind,)),
        ("cause", seen.cause, (cause,)),
        ("call", seen.call, expected.calls),
        ("function", seen.function, (expected.function or name,)),
        ("file", Path(seen.file).name, ("blocks.py",)),
    ]
    wrong = [f"{what} {found!r}, not one of {wanted}" for what, found, wanted in pairs if found not in wanted]
    if expected.sleeping and seen.sleeping not in expected.sleeping:
        wrong.append(f"system call {seen.sleeping!r}, not one of {expected.sleeping}")
    if expected.statement not in seen.statement or expected.url not in seen.url or "secret" in seen.url:
        wrong.append(f"statement {seen.statement!r}, address {seen.url!r}")
    if kind == "thread" and name not in (blocks.ELSEWHERE, blocks.MANY) and seen.handler != f"GET /{name}":
        wrong.append(f"handler {seen.handler!r}")
    return wrong


def _mismeasured(truth: Truth, seen: Incident) -> list[str]:
    allowed = max(0.1 * truth.seconds, 0.020, seen.uncertain)
    if abs(seen.seconds - truth.seconds) <= allowed:
        return []
    return [f"{seen.seconds:.3f} s, where the process's own clock says {truth.seconds:.3f} s (± {allowed:.3f})"]
