"""Who follows which stream, and how far each has been sent. Nothing is stored for a slow one: it reads again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from headgate.base.model import Batch, Event
from headgate.drivers.embedded.wire import PAGE_BYTES, WINDOW, Message, Pushed


class Peer(Protocol):
    """One client, as the desk sees it."""

    def send(self, message: Message) -> None:
        """Send, whatever it costs; used for replies and what a window bounds."""

    def say(self, channel: str, payload: bytes) -> None:
        """Send a channel message, or give up the oldest one that is still unsent."""


@dataclass(slots=True)
class Subscription:
    """One peer's reading of one stream."""

    peer: Peer
    n: int
    stream: str
    at: int
    """The offset up to which everything was sent."""
    credit: int = WINDOW
    behind: bool = True
    """There may be events in the store beyond `at`; live ones must not be sent before those."""

    def push(self, batch: Batch) -> None:
        self.at = batch.next
        self.credit -= len(batch.events)
        self.peer.send(Pushed(self.n, batch))


class Subscriptions:
    """All subscriptions of the engine.

    Args:
        catch_up: called with a subscription that has credit and is behind; must read and `feed` it.
    """

    def __init__(self, catch_up: Callable[[Subscription], None]) -> None:
        self._catch_up = catch_up
        self._by_stream: dict[str, list[Subscription]] = defaultdict(list)
        self._by_peer: dict[Peer, dict[int, Subscription]] = defaultdict(dict)

    def __len__(self) -> int:
        return sum(map(len, self._by_stream.values()))

    def add(self, subscription: Subscription) -> None:
        self._by_stream[subscription.stream].append(subscription)
        self._by_peer[subscription.peer][subscription.n] = subscription

    def feed(self, subscription: Subscription, batch: Batch, whole: bool) -> None:
        """Give a subscription what was read for it, and whether that was all; it may have ended meanwhile."""
        if self._by_peer.get(subscription.peer, {}).get(subscription.n) is not subscription:
            return
        if batch.events or batch.ended or batch.truncated:
            subscription.push(batch)
        if batch.ended:
            self.drop(subscription.peer, subscription.n)
        elif whole:
            subscription.behind = False
        elif subscription.credit > 0:
            self._catch_up(subscription)

    def publish(self, committed: Mapping[str, Sequence[Event]]) -> None:
        """Events that have just been committed, to all who are up to date."""
        for stream, events in committed.items():
            for subscription in list(self._by_stream.get(stream, ())):
                if not subscription.behind:
                    self._live(subscription, events)

    def more(self, peer: Peer, n: int, count: int) -> None:
        """The peer takes `count` events more."""
        subscription = self._by_peer.get(peer, {}).get(n)
        if subscription is not None:
            had = subscription.credit
            subscription.credit += count
            if subscription.behind and had <= 0 < subscription.credit:
                self._catch_up(subscription)

    def drop(self, peer: Peer, n: int) -> None:
        subscription = self._by_peer.get(peer, {}).pop(n, None)
        if subscription is not None:
            self._unlist(subscription)

    def forget(self, peer: Peer) -> None:
        """The peer is gone."""
        for subscription in self._by_peer.pop(peer, {}).values():
            self._unlist(subscription)

    def _live(self, subscription: Subscription, events: Sequence[Event]) -> None:
        fresh = [event for event in events if event.offset > subscription.at]
        if not fresh:
            return
        if len(fresh) > subscription.credit or sum(len(event.data) for event in fresh) > PAGE_BYTES:
            subscription.behind = True
            if subscription.credit > 0:
                self._catch_up(subscription)
            return
        subscription.push(Batch(fresh, fresh[-1].offset, fresh[-1].terminal))
        if fresh[-1].terminal:
            self.drop(subscription.peer, subscription.n)

    def _unlist(self, subscription: Subscription) -> None:
        listed = self._by_stream[subscription.stream]
        listed.remove(subscription)
        if not listed:
            del self._by_stream[subscription.stream]
