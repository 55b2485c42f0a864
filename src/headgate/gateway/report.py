"""What `headgate status` is told of a gateway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from headgate.gateway.app import GatewayApp
from headgate.gateway.bodies import Spool
from headgate.gateway.exchange import Exchange
from headgate.gateway.lanes import LANES
from headgate.gateway.limits import BOUNDS
from headgate.gateway.sockets import Sockets
from headgate.gateway.web import Web

MOST_HANDLERS: Final = 100
"""Handlers reported: those that ran most."""


class Report:
    """Reads the figures of a gateway's parts.

    Args:
        unready: says why the gateway is not ready, or None.
    """

    def __init__(
        self,
        app: GatewayApp,
        web: Web,
        exchange: Exchange,
        sockets: Sockets,
        spool: Spool,
        unready: Callable[[], str | None],
    ) -> None:
        self._app = app
        self._web = web
        self._exchange = exchange
        self._sockets = sockets
        self._spool = spool
        self._unready = unready

    def __call__(self) -> dict[str, Any]:
        """The figures of this moment; times in seconds."""
        return {
            "ready": self._unready() or True,
            **self.numbers(),
            "workers": [
                {
                    "name": link.name,
                    "lane": link.lane,
                    "running": link.running,
                    "slots": link.slots,
                    "streams": len(link.streams),
                    "draining": link.draining,
                }
                for link in self._exchange.links.values()
            ],
            "limited": {bound: count for bound, count in self.limited().items() if count},
            "lanes": self.lanes(),
            "handlers": self._handlers(),
        }

    def numbers(self) -> dict[str, int]:
        """Gauges and counts without labels."""
        exchange, sockets = self._exchange, self._sockets
        return {
            "connections": self._app.connections,
            "sockets": len(sockets.wires),
            "http_active": self._web.active,
            "channels": len(sockets.channels),
            "streams": len(sockets.follows),
            "stream_readers": self._app.streams.readers if self._app.streams is not None else 0,
            "outboxes": len(sockets.waiting),
            "turned_away": self._app.turned_away,
            "stalled_responses": self._app.stalled,
            "bad_proxy_headers": self._app.entry.bad_headers,
            "failed_tls_handshakes": self._app.entry.failed_handshakes,
            "handed_over": self._app.balance.handed if self._app.balance is not None else 0,
            "refused_handshakes": sockets.refused,
            "closed_slow": sockets.closed_slow,
            "closed_silent": sockets.closed_silent,
            "closed_broken": sockets.closed_broken,
            "closed_too_big": sockets.closed_too_big,
            "evicted": sockets.sessions.evicted,
            "handshakes": len(sockets.handshakes),
            "dropped_messages": sockets.dropped_so_far(),
            "bounced": exchange.bounced,
            "lost": exchange.lost,
            "expired": exchange.expired,
            "spool_files": self._spool.files,
            **(self._app.socketio.stats() if self._app.socketio is not None else {}),
        }

    def limited(self) -> dict[str, int]:
        """How often each bound was reached, by its setting."""
        counts = self._exchange.limited + self._sockets.limited + self._app.limited + self._web.limited
        counts["max_connections"] += self._app.turned_away
        counts["max_body"] += self._web.too_large
        return {bound: counts[bound] for bound in BOUNDS}

    def lanes(self) -> dict[str, dict[str, Any]]:
        """The waiting room and the slots of each lane."""
        now = self._exchange.now()
        states = {lane: self._exchange.board.state(lane, now) for lane in LANES}
        return {
            lane: {
                "waiting": state.waiting,
                "running": state.running,
                "slots": state.slots,
                "workers": state.workers,
                "oldest_wait": round(state.oldest_wait, 3),
            }
            for lane, state in states.items()
        }

    def _handlers(self) -> list[dict[str, Any]]:
        profiles = sorted(self._exchange.learner.profiles().items(), key=lambda item: -item[1].count)
        return [
            {
                "name": name,
                "lane": "fast" if profile.fast else "slow",
                "count": profile.count,
                "p50": round(profile.quantile(0.5), 6),
                "p95": round(profile.quantile(0.95), 6),
                "worst": round(profile.worst, 6),
                "why": profile.why,
            }
            for name, profile in profiles[:MOST_HANDLERS]
        ]
