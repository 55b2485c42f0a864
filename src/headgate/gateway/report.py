"""What `headgate status` and the metrics are told of a gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from headgate.gateway.lanes import LANES

if TYPE_CHECKING:
    from headgate.gateway.gateway import Gateway

MOST_HANDLERS: Final = 100
"""Handlers reported: those that ran most."""


def report(gateway: Gateway) -> dict[str, Any]:
    """The figures of this moment; times in seconds."""
    exchange, sockets = gateway.exchange, gateway.sockets
    now = exchange.now()
    return {
        "ready": gateway.unready() or True,
        "connections": gateway.app.connections,
        "sockets": len(sockets.wires),
        "http_active": gateway.web.active,
        "channels": len(gateway.channels),
        "streams": len(gateway.follows),
        "outboxes": len(sockets.waiting),
        "turned_away": gateway.app.turned_away,
        "refused_handshakes": sockets.refused,
        "closed_slow": sockets.closed_slow,
        "closed_silent": sockets.closed_silent,
        "dropped_messages": sockets.dropped,
        "bounced": exchange.bounced,
        "lost": exchange.lost,
        "expired": exchange.expired,
        "spool_files": gateway.spool.files,
        "workers": [
            {
                "name": link.name,
                "lane": link.lane,
                "running": link.running,
                "slots": link.slots,
                "streams": len(link.streams),
                "draining": link.draining,
            }
            for link in exchange.links.values()
        ],
        "lanes": {lane: _lane(gateway, lane, now) for lane in LANES},
        "handlers": _handlers(gateway),
    }


def _lane(gateway: Gateway, lane: str, now: float) -> dict[str, Any]:
    state = gateway.exchange.board.state(lane, now)
    return {
        "waiting": state.waiting,
        "running": state.running,
        "slots": state.slots,
        "workers": state.workers,
        "oldest_wait": round(state.oldest_wait, 3),
    }


def _handlers(gateway: Gateway) -> list[dict[str, Any]]:
    profiles = sorted(gateway.exchange.learner.profiles().items(), key=lambda item: -item[1].count)
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
