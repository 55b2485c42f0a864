"""Who hears which channel. Messages are not kept, and touch no table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from headgate.drivers.local.subscriptions import Peer


class Hearers:
    """Peers by channel."""

    def __init__(self) -> None:
        self._peers: dict[str, dict[Peer, None]] = defaultdict(dict)

    def want(self, peer: Peer, channels: Sequence[str], wanted: bool) -> None:
        for channel in channels:
            if wanted:
                self._peers[channel][peer] = None
            else:
                self._discard(peer, channel)

    def publish(self, channel: str, payload: bytes) -> None:
        for peer in list(self._peers.get(channel, ())):
            peer.say(channel, payload)

    def forget(self, peer: Peer) -> None:
        for channel in [channel for channel, peers in self._peers.items() if peer in peers]:
            self._discard(peer, channel)

    def _discard(self, peer: Peer, channel: str) -> None:
        peers = self._peers.get(channel)
        if peers is not None:
            peers.pop(peer, None)
            if not peers:
                del self._peers[channel]
