"""The blocking calls of the matrix, each written as its users write it; each lasts about `LENGTH`.

Run inside a watched process (`desk.py`). What a call needs is made by `Bench` beforehand, so that only the call blocks.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import os
import random
import re
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import psycopg2
import pymysql
import requests

LENGTH = 0.25
HELD = 0.6
"""Seconds of calls that keep the interpreter lock: only an observer outside can name them, and it takes its time."""
SMALL = 0.025
PATTERN = re.compile(r"(a|aa)+$")

libc = ctypes.CDLL(None)
holding = ctypes.PyDLL(None)  # calls through it keep the interpreter lock


def sized(call: Callable[[int], object], guess: int, seconds: float, power: float = 1.0) -> int:
    """The argument with which a call computes for so long (CPU time, whatever else runs on the machine).

    Args:
        call: is given the argument.
        guess: a small one to begin with.
        seconds: how long.
        power: how the time grows with the argument.
    """
    while True:
        since = time.thread_time()
        call(guess)
        took = time.thread_time() - since
        if took > seconds / 30:
            return max(1, int(guess * (seconds / took) ** (1 / power)))
        guess *= 2


class Bench:
    """What the calls need, made before the first of them."""

    def __init__(self, folder: Path, addresses: dict[str, str]) -> None:
        self.web = addresses["web"]
        self.psycopg = psycopg.connect(addresses["postgres"], autocommit=True)
        psycopg2_connection = psycopg2.connect(addresses["postgres"])
        psycopg2_connection.autocommit = True
        self.psycopg2 = psycopg2_connection.cursor()
        self.pymysql = pymysql.connect(host="127.0.0.1", port=int(addresses["mariadb"]), user="root").cursor()
        self.sqlite = sqlite3.connect(":memory:", check_same_thread=False)
        self.rows = int(addresses["rows"])
        self.fifo = str(folder / f"fifo-{os.getpid()}")
        os.mkfifo(self.fifo)
        self.rounds = int(addresses["rounds"])
        self.pattern = PATTERN
        self.text = "a" * int(addresses["letters"]) + "b"
        self.numbers = [random.random() for _ in range(int(addresses["numbers"]))]
        self.power = int(addresses["power"])
        self.garbage: list[Any] = []
        self.lock = threading.Lock()
        point_resolver_at(int(addresses["dns"]))


def sizes() -> dict[str, str]:
    """How large the arguments of what computes must be on this machine."""
    database = sqlite3.connect(":memory:")
    numbers = [random.random() for _ in range(100_000)]
    found = {
        "rows": sized(lambda n: count_rows(database, n), 20_000, LENGTH),
        "rounds": sized(lambda n: hashlib.pbkdf2_hmac("sha256", b"pass", b"salt", n), 5_000, LENGTH),
        "numbers": 100_000 * sized(lambda n: [sorted(numbers) for _ in range(n)], 1, HELD / 1.5),
        "power": sized(lambda n: 3**n, 50_000, HELD, 1.58),
        "letters": _letters(),
    }
    return {name: str(value) for name, value in found.items()}


def count_rows(database: sqlite3.Connection, rows: int) -> object:
    """A statement that keeps SQLite busy."""
    return database.execute(
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) SELECT sum(i) FROM n"
    ).fetchone()


def _letters() -> int:
    """The time grows by the golden ratio with each letter."""
    count = 18
    while True:
        since = time.thread_time()
        PATTERN.match("a" * count + "b")
        if time.thread_time() - since >= HELD / 2:
            return count
        count += 1


def point_resolver_at(port: int) -> None:
    """Let this thread's resolver (glibc's `struct __res_state`) ask a server of ours, on a port that needs no root."""
    libc.__res_init()
    libc.__res_state.restype = ctypes.POINTER(ctypes.c_ubyte * 64)
    state = libc.__res_state().contents
    server = socket.AF_INET.to_bytes(2, "little") + port.to_bytes(2, "big") + socket.inet_aton("127.0.0.1") + bytes(8)
    ctypes.memmove(ctypes.addressof(state) + 16, (1).to_bytes(4, "little") + server, 20)


def time_sleep(_bench: Bench) -> None:
    time.sleep(LENGTH)


def requests_get(bench: Bench) -> None:
    requests.get(bench.web + "/slow?token=secret", timeout=10)


def psycopg2_execute(bench: Bench) -> None:
    bench.psycopg2.execute(f"SELECT pg_sleep({LENGTH})")


def psycopg3_execute(bench: Bench) -> None:
    bench.psycopg.execute(f"SELECT pg_sleep({LENGTH})")


def pymysql_execute(bench: Bench) -> None:
    bench.pymysql.execute(f"SELECT SLEEP({LENGTH})")


def sqlite3_execute(bench: Bench) -> None:
    count_rows(bench.sqlite, bench.rows)


def lock_acquire(bench: Bench) -> None:
    bench.lock.acquire()
    threading.Thread(target=release_later, args=[bench.lock]).start()
    bench.lock.acquire()
    bench.lock.release()


def release_later(lock: threading.Lock) -> None:
    time.sleep(LENGTH)
    lock.release()


def subprocess_run(_bench: Bench) -> None:
    subprocess.run(["sleep", str(LENGTH)], check=True)


def dns_lookup(_bench: Bench) -> None:
    try:
        socket.getaddrinfo("slow.example.test", 80)
    except socket.gaierror:
        return


def fifo_read(bench: Bench) -> None:
    threading.Thread(target=write_later, args=[bench.fifo]).start()
    with open(bench.fifo, "rb") as fifo:
        fifo.read()


def write_later(path: str) -> None:
    time.sleep(LENGTH)
    with open(path, "wb") as fifo:
        fifo.write(b"x")


def cpu_loop(_bench: Bench) -> None:
    until = time.thread_time() + LENGTH
    total = 0
    while time.thread_time() < until:
        total += 1


def hashing(bench: Bench) -> None:
    hashlib.pbkdf2_hmac("sha256", b"pass", b"salt", bench.rounds)


def backtracking(bench: Bench) -> None:
    bench.pattern.match(bench.text)


def sorting(bench: Bench) -> None:
    sorted(bench.numbers)


def pydll(_bench: Bench) -> None:
    holding.usleep(int(HELD * 1e6))


def collecting(_bench: Bench) -> None:
    gc.collect()


def power(bench: Bench) -> object:
    return 3**bench.power


def held_elsewhere(_bench: Bench) -> threading.Thread:
    """The loop is not at fault at all: it waits for its next event, or for a CPU of the interpreter."""
    thread = threading.Thread(target=hog)
    thread.start()
    return thread


def hog() -> None:
    since = time.monotonic_ns()
    holding.usleep(int(HELD * 1e6))
    HOGGED.append((since, time.monotonic_ns()))


HOGGED: list[tuple[int, int]] = []
"""When the lock was held elsewhere, by the holder's own clock."""


def small() -> None:
    time.sleep(SMALL)


BLOCKS: dict[str, Callable[[Bench], object]] = {
    function.__name__: function
    for function in (
        time_sleep,
        requests_get,
        psycopg2_execute,
        psycopg3_execute,
        pymysql_execute,
        sqlite3_execute,
        lock_acquire,
        subprocess_run,
        dns_lookup,
        fifo_read,
        cpu_loop,
        hashing,
        backtracking,
        sorting,
        pydll,
        collecting,
        power,
    )
}
MANY, ELSEWHERE = "many_small", "held_elsewhere"
"""The two that are no single call; each kind of desk has its own way to do them."""
NAMES = (*BLOCKS, MANY, ELSEWHERE)


def prepare(name: str, bench: Bench) -> None:
    """What is to be there right before a block, and not earlier: garbage makes every collection long."""
    gc.disable()
    bench.garbage = []
    if name == "collecting":
        bench.garbage = [[[]] for _ in range(1_500_000)]
