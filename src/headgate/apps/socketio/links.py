"""How an app worker's Socket.IO server reaches the gateways: over its links, to one of them or to all."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

import msgspec

from headgate.apps.contexts import handshake_environ
from headgate.apps.environ import EnvironMaker
from headgate.base.errors import Unavailable
from headgate.link.messages import GatewayHello, Scope
from headgate.link.socketio import SioEmit, SioOrder, SioQuery, SioReply, gateway_of

log = logging.getLogger("headgate.app")

ANSWER: Final = 5.0
"""Seconds for a gateway to answer a question."""
LOOK: Final = 0.25
"""Seconds between two looks whether a gateway that was asked is still there."""
MOST_BACKLOG: Final = 64
"""Emits that a gateway may be behind with; a thread that goes on emitting waits."""
PAUSE: Final = 0.001
MOST_CALLBACKS: Final = 10_000
"""Callbacks whose acknowledgement has not come; the oldest are forgotten."""


class Reached(Protocol):
    """A link, as far as this needs it."""

    gateway: GatewayHello | None
    send: Callable[[Any], None]

    @property
    def backlog(self) -> int:
        """Frames that wait for the gateway to read."""

    def waits(self) -> None:
        """The calling thread is about to wait for something that comes over a link."""


class _Question:
    __slots__ = ("answers", "done")

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.done = threading.Event()


class LinkOutlet:
    """An app worker's outlet (`declare.socketio.outlet.Outlet`).

    Args:
        environs: makes environs of handshakes.
    """

    def __init__(self, environs: EnvironMaker) -> None:
        self._environs = environs
        self._links: Callable[[], Iterable[Reached]] = tuple
        self._numbers = itertools.count(1)
        self._questions: dict[int, _Question] = {}
        self._callbacks: dict[int, Callable[..., Any]] = {}
        self._single: set[int] = set()

    def attach(self, links: Callable[[], Iterable[Reached]]) -> None:
        """The links of this worker, once there are any."""
        self._links = links

    def emit(self, message: SioEmit) -> None:
        rooms = message.rooms
        owner = gateway_of(rooms[0]) if rooms is not None and len(rooms) == 1 else None
        if owner is not None and message.callback:
            self._single.add(message.callback)
        for link in self._holders(owner):
            link.send(message)
            if link.backlog > MOST_BACKLOG:
                self._wait(link)

    def _wait(self, link: Reached) -> None:
        """A thread that emits faster than a gateway reads waits for it, rather than pile up what it has to say."""
        link.waits()
        until = time.monotonic() + ANSWER
        while link.backlog > MOST_BACKLOG // 2 and time.monotonic() < until:
            time.sleep(PAUSE)

    def order(self, message: SioOrder) -> None:
        for link in self._holders(gateway_of(message.sid) if message.sid else None):
            link.send(message)

    def ask(self, kind: str, namespace: str, sid: str, data: Any = None) -> list[Any]:
        """Ask the gateway that holds a client, or all of them.

        Raises:
            Unavailable: a gateway does not answer in time.
        """
        found = []
        for link in self._holders(gateway_of(sid) if sid else None):
            found += self._ask(link, kind, namespace, sid, data)
        return found

    def expect(self, callback: Callable[..., Any]) -> int:
        number = next(self._numbers)
        self._callbacks[number] = callback
        if len(self._callbacks) > MOST_CALLBACKS:
            oldest = next(iter(self._callbacks))
            self._callbacks.pop(oldest, None)
            self._single.discard(oldest)
        return number

    def callback(self, number: int) -> Callable[..., Any] | None:
        """What is to be run for an acknowledgement; of an emit to a room, each member answers."""
        if number in self._single:
            self._single.discard(number)
            return self._callbacks.pop(number, None)
        return self._callbacks.get(number)

    def environ(self, found: Any) -> dict[str, Any]:
        return handshake_environ(self._environs, msgspec.convert(found[3], Scope))

    def replied(self, reply: SioReply) -> None:
        """A gateway has answered; where the link is read."""
        question = self._questions.get(reply.query)
        if question is not None:
            question.answers.append(reply.data)
            question.done.set()

    def _holders(self, gateway: int | None) -> list[Reached]:
        live = list(self._links())
        if gateway is None:
            return live
        return [link for link in live if link.gateway is not None and link.gateway.gateway == gateway]

    def _ask(self, link: Reached, kind: str, namespace: str, sid: str, data: Any) -> list[Any]:
        number = next(self._numbers)
        question = self._questions[number] = _Question()
        try:
            link.waits()
            link.send(SioQuery(number, kind, namespace, sid, data))
            until = time.monotonic() + ANSWER
            while not question.done.wait(LOOK):
                if link not in self._links():  # its clients are gone with it
                    return []
                if time.monotonic() > until:
                    raise Unavailable(f"a gateway did not answer within {ANSWER:g} s ({kind} of Socket.IO clients)")
            return question.answers
        finally:
            del self._questions[number]
