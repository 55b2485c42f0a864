"""Job workers that wait for a claim, served in the order in which they came."""

from __future__ import annotations

from headgate.base.model import Claim
from headgate.drivers.embedded.wire import Claims, Take
from headgate.drivers.local import claims
from headgate.drivers.local.rates import Rates
from headgate.drivers.local.schema import QUEUED
from headgate.drivers.local.store import Store
from headgate.drivers.local.subscriptions import Peer

Granted = list[tuple[Peer, Take, list[Claim]]]


class Waiting:
    """The takes that are not answered yet."""

    def __init__(self) -> None:
        self._takes: dict[tuple[Peer, int], Take] = {}
        self._look = False

    def __len__(self) -> int:
        return len(self._takes)

    def add(self, peer: Peer, take: Take) -> None:
        self._takes[peer, take.n] = take
        self._look = True

    def untake(self, peer: Peer, n: int) -> None:
        """The take is not wanted any more; it is answered with nothing, unless it has been answered with something."""
        if self._takes.pop((peer, n), None) is not None:
            peer.send(Claims(n, []))

    def forget(self, peer: Peer) -> None:
        for key in [key for key in self._takes if key[0] is peer]:
            del self._takes[key]

    def serve(self, store: Store, rates: Rates) -> Granted:
        """Claim for those who wait, in the transaction under way; they stay listed until it is committed.

        What there is is spread over the waiting workers: one that leases ahead must not leave another idle.
        """
        if not self._takes or not (self._look or store.changes.ready):
            return []
        granted: Granted = []
        takes = list(self._takes.items())
        ready = sum(store.count(queue, QUEUED) for queue in store.queues(QUEUED))
        for at, ((peer, _), take) in enumerate(takes):
            if ready <= 0:
                break
            share = max(1, -(-ready // (len(takes) - at)))
            got = claims.claim(store, rates, take.worker, take.queues, min(take.most, share), take.functions)
            ready -= len(got)
            if got:
                granted.append((peer, take, got))
        return granted

    def granted(self, granted: Granted) -> None:
        """The claims are durable: tell the workers."""
        self._look = False
        for peer, take, got in granted:
            # Whoever took its take back meanwhile is told all the same, and hands the claims back.
            self._takes.pop((peer, take.n), None)
            peer.send(Claims(take.n, got))
