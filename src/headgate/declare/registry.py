"""What the code of this process has declared: jobs by name, native sockets by rule.

Declaring only records; nothing connects, starts or imports. A role that needs to run something
imports the app first and looks here afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from headgate.base.errors import ConfigError
from headgate.base.model import Cron
from headgate.declare.job import JobFunction
from headgate.declare.socket import SocketRoute


class Gate(Protocol):
    """What the roles need of a `Headgate` object."""

    app: Any
    """The Flask app, or None."""


Layer = Callable[[Any, Callable[[], Any]], Any]
"""`layer(job, call)`: does what it does before, returns `call()`, does what it does after."""


class _Declared(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def origin(self) -> str: ...


_D = TypeVar("_D", bound=_Declared)

jobs: dict[str, JobFunction[Any]] = {}
"""Every declared job function by its name (`module:qualname` unless it was given one)."""
sockets: dict[str, SocketRoute] = {}
"""Every declared native socket by its rule."""
crons: dict[str, Cron] = {}
"""What is put again and again, by name."""
layers: list[Layer] = []
"""What is laid around every job, the outermost first."""
gates: list[Gate] = []
"""Every `Headgate` object of the process, in the order of their creation."""


def add_job(job: JobFunction[Any]) -> None:
    """Record a job function; the same function declared again (a module reload) replaces the old one.

    Raises:
        ConfigError: the name belongs to another function already.
    """
    _add(jobs, job, "job functions", "give one of them another name with @gate.job(name=…)")


def add_socket(route: SocketRoute) -> None:
    """Record a native socket.

    Raises:
        ConfigError: the rule has another handler already.
    """
    _add(sockets, route, "socket handlers", "give one of them another path")


def clear() -> None:
    """Forget everything: for tests that declare afresh."""
    jobs.clear()
    sockets.clear()
    crons.clear()
    layers.clear()
    gates.clear()


def _add(table: dict[str, _D], item: _D, what: str, remedy: str) -> None:
    other = table.get(item.name)
    if other is not None and other.origin != item.origin:
        raise ConfigError(f"two {what} are called {item.name!r} ({other.origin} and {item.origin}); {remedy}")
    table[item.name] = item
