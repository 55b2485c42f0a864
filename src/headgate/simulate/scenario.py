"""What a scenario is: who the users are, what they send, and how an answer is recognised.

A scenario runs in the load generator's processes. One object serves all users of a process; what
belongs to one user lives in its `User` handle. Every hook is called from the event loop and must
not block: a hook that sleeps makes the generator the bottleneck, and the run is marked invalid.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

from headgate.simulate.amounts import Rate, parse_rate
from headgate.simulate.stages import Stage

IDS_PER_USER: Final = 1_000_000
"""Click ids are `user * IDS_PER_USER + n`: an answer that reaches the wrong user is seen."""


@dataclass(frozen=True, slots=True)
class Action:
    """One click.

    Args:
        message: what is sent: str or bytes as they are, anything else as JSON; for Socket.IO a list
            `[event, argument, …]`; for HTTP a `headgate.simulate.wire.http.HttpRequest`.
        name: the name its latencies are filed under (`click`, `update` …).
        expects: "answer" (the default), "result" (an answer and later the result of a job),
            "auto" (a result is awaited when the answer names a job), or None: nothing comes back.
    """

    message: Any
    name: str = "click"
    expects: Literal["answer", "result", "auto"] | None = "auto"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a received message means.

    Args:
        kind: answer · error (an answer that says no) · lost (no answer will come: its connection
            broke) · event (of a job's stream) · result · failed (the job ended without a result) ·
            truncated (the server tells of a gap).
        id: the click that an answer belongs to.
        job: the job that an answer names, or that an event belongs to.
        stream: the stream of an event, when it is not `jobs/<job>`.
        offset: the event's offset in its stream, where it has one; it must grow.
        then, wait: a message to send in reply, after so many seconds (polling a job's URL, say).
        detail: what an error is filed under beside the total, such as an HTTP status; why a click is lost.
    """

    kind: Literal["answer", "error", "lost", "event", "result", "failed", "truncated"]
    id: int | None = None
    job: str | None = None
    stream: str | None = None
    offset: str | int | None = None
    then: Any = None
    wait: float = 0.0
    detail: str | None = None


@dataclass(slots=True)
class User:
    """One simulated user, as its scenario sees it.

    `rng` is seeded by the run's seed and the user's number: the same seed gives the same clicks,
    on any number of processes. `data` is the scenario's to fill.
    """

    number: int
    rng: random.Random
    data: dict[str, Any] = field(default_factory=dict)
    following: dict[str, str | int | None] = field(default_factory=dict)
    """Streams whose end has not come, with the last offset seen: what a resume asks for."""


class Scenario:
    """The base of every scenario: class attributes are defaults that command-line flags override.

    Attributes:
        users: how many users there are.
        rate: clicks per second, as in `parse_rate`.
        heavy: the share of clicks that are heavy, passed to `act`.
        stages: the load over time; empty means `users` at `rate` for `seconds`.
        seconds: how long the clicking lasts when there are no stages.
        pace: "poisson" (independent users) or "even" (a fixed gap, each user with its own phase).
        ordered: answers on one connection must come in the order of the clicks.
        reconnect: come back after an unexpected close.
        faults: faults to cause, as `--fault` writes them.
        headers: extra handshake or request headers.
        socketio_path, socketio_auth: where Engine.IO answers, and what is sent with the connect packet.
    """

    name: ClassVar[str] = "scenario"
    users: int = 100
    rate: str = "0.2/user"
    heavy: float = 0.05
    seconds: float = 60.0
    stages: Sequence[Stage] = ()
    pace: Literal["poisson", "even"] = "poisson"
    ordered: bool = True
    reconnect: bool = True
    faults: Sequence[str] = ()
    slo: Sequence[str] = ()
    headers: Mapping[str, str] = {}
    subprotocols: Sequence[str] = ()
    socketio_path: str = "socket.io"
    socketio_auth: Any = None

    def __init__(self, params: Mapping[str, Any] | None = None, shared: Any = None) -> None:
        self.params: Mapping[str, Any] = params or {}
        self.shared: Any = shared

    def setup(self) -> Any:
        """Runs once before the load; what it returns (plain data) is every process's `self.shared`."""
        return None

    def teardown(self) -> None:
        """Runs once after the load, whatever became of it."""

    def start(self, user: User) -> None:
        """A user is made: fill `user.data`."""

    def greet(self, user: User) -> Sequence[Any]:
        """Messages to send when the user's connection opens; their answers are not measured."""
        return ()

    def think(self, user: User) -> float | None:
        """Seconds between this click's intended moment and the next; None follows `rate`."""
        return None

    def act(self, user: User, click_id: int, heavy: bool) -> Action:
        """The next click."""
        raise NotImplementedError(f"{type(self).__name__} must say what a click sends: define act()")

    def read(self, user: User, message: Any) -> Reply | None:
        """What a received message means; None for one that is of no interest."""
        raise NotImplementedError(f"{type(self).__name__} must say how an answer is recognised: define read()")

    def resume(self, user: User) -> Sequence[Any]:
        """Messages to send after a reconnect, so that followed streams go on where they broke."""
        return ()

    @classmethod
    def click_rate(cls) -> Rate:
        """The class's rate, parsed."""
        return parse_rate(cls.rate)
