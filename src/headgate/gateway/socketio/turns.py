"""The events of a client become tasks of the lanes, in order, and without a slow one holding up those behind it.

Flask-SocketIO runs each event in a thread of its own. Light handlers therefore end in the order of their events,
and one that waits lets the others pass. The same here: an event waits for the one before it, for `PATIENCE` at
most. Of an app with `async_handlers=False`, each waits until the one before it has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from headgate.base.errors import Full
from headgate.gateway.exchange import Exchange, Task
from headgate.gateway.socketio.client import Client, Item
from headgate.link.messages import Scope, ToWorker
from headgate.link.socketio import SioDone, SioEvent

log = logging.getLogger("headgate.gateway")

PATIENCE: Final = 0.02
"""Seconds that an event waits for the one before it."""
AT_ONCE: Final = 16
"""Events of one client that run at the same time."""
RETRY: Final = 0.1
"""Seconds after which an event that found its lane full asks again."""
TRIES: Final = 3
"""Of a connect whose app worker was lost."""


class Owner(Protocol):
    """Who keeps the clients."""

    exchange: Exchange

    @property
    def ordered(self) -> bool:
        """Whether events of one client run strictly one after the other."""

    def state_of(self, client: Client) -> dict[str, bytes]: ...

    def done(self, client: Client, item: Item, done: SioDone) -> None:
        """A handler has ended."""

    def failed(self, client: Client, item: Item, why: str) -> None:
        """A handler was not run, or not to its end."""

    def idle(self, client: Client) -> None:
        """Nothing of it runs or waits."""


class EventTask(Task):
    """One event on its way through an app worker."""

    __slots__ = ("_client", "_item", "_turns")

    def __init__(self, turns: Turns, client: Client, item: Item) -> None:
        super().__init__(f"sio {client.namespace}:{item.event}")
        self._turns = turns
        self._client = client
        self._item = item

    def begin(self, send: Callable[[ToWorker], None]) -> None:
        client, item = self._client, self._item
        send(
            SioEvent(
                self.stream,
                self.handler,
                item.kind,
                client.session.sid,
                client.sid,
                client.namespace,
                cast(Scope, client.session.scope),
                self._turns.owner.state_of(client),
                item.packet,
                item.attachments,
                item.reason,
                client.recovered,
            )
        )

    def take(self, message: Any) -> None:
        if not isinstance(message, SioDone):
            return
        self._turns.owner.exchange.end(self, self.handler, message.run)
        self._turns.ended(self._client, self._item)
        self._turns.owner.done(self._client, self._item, message)
        self._turns.pump(self._client)

    def lost(self) -> None:
        self._item.tries += 1
        if self._item.kind != "event" and self._item.tries < TRIES:  # nobody else would ever do it
            self._turns.ended(self._client, self._item)
            self._client.inbox.appendleft(self._item)
            self._turns.later(self._client, RETRY)
            return
        self._fail("its app worker was lost")

    def expired(self) -> None:
        self._fail("no slot came free in time")

    def _fail(self, why: str) -> None:
        self._turns.ended(self._client, self._item)
        self._turns.owner.failed(self._client, self._item, why)
        self._turns.pump(self._client)


class Turns:
    """Starts events.

    Args:
        owner: keeps the clients.
    """

    def __init__(self, owner: Owner, now: Callable[[], float], call_later: Callable[..., Any]) -> None:
        self.owner = owner
        self._now = now
        self._call_later = call_later

    def add(self, client: Client, item: Item) -> None:
        client.inbox.append(item)
        self.pump(client)

    def ended(self, client: Client, item: Item) -> None:
        if item in client.running:
            client.running.remove(item)

    def later(self, client: Client, seconds: float) -> None:
        if client.timer is None:
            client.timer = self._call_later(seconds, self._wake, client)

    def pump(self, client: Client) -> None:
        """Start what may start."""
        while client.inbox:
            wait = self._wait(client)
            if wait > 0:
                if wait < float("inf"):
                    self.later(client, wait)
                return
            item = client.inbox.popleft()
            client.running.append(item)
            client.latest = self._now()
            try:
                self.owner.exchange.submit(EventTask(self, client, item))
            except Full:  # it stays where it was, and behind a full inbox the client is read no more
                self.ended(client, item)
                client.inbox.appendleft(item)
                self.later(client, RETRY)
                return
        if not client.running:
            self.owner.idle(client)

    def _wait(self, client: Client) -> float:
        """Seconds until the next event may start; infinite when only an end can tell."""
        running = client.running
        if not running:
            return 0.0
        if (
            self.owner.ordered
            or client.inbox[0].kind != "event"
            or running[0].kind != "event"
            or len(running) >= AT_ONCE
        ):
            return float("inf")
        return client.latest + PATIENCE - self._now()

    def _wake(self, client: Client) -> None:
        client.timer = None
        self.pump(client)
