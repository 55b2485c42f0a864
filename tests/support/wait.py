"""Waiting for a condition, with a deadline and with a word about what did not come."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class NeverCame(AssertionError):
    """A condition did not come true before its deadline."""


def until(condition: Callable[[], T], what: str, seconds: float = 15.0, every: float = 0.02) -> T:
    """Call `condition` until it returns something true, and return that.

    Args:
        condition: called again and again; what it raises ends the wait.
        what: names the condition in the failure.
        seconds: the deadline.
        every: seconds between two calls.

    Raises:
        NeverCame: the deadline passed.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() >= deadline:
            raise NeverCame(f"{what}: not within {seconds:g} s (last: {found!r})")
        time.sleep(every)


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts TCP connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


PORTS = range(12_000, 32_000)
"""Below Linux's ephemeral ports (net.ipv4.ip_local_port_range): no outgoing connection takes one in the meantime."""
_chance = random.SystemRandom()


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on at the moment; a random one, since test runs may be neighbours."""
    for _ in range(200):
        port = _chance.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise NeverCame(f"no free port of {PORTS} in 200 attempts")
