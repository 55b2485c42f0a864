"""What a client's events leave for its later ones: session and additions to the environ, as entries that travel.

In one process Flask-SocketIO keeps them in the environ, which it has for as long as the client is connected. Here the
gateway keeps them: each value pickled by itself, so that two events of a client that run at the same time do not
undo what the other one changed.
"""

from __future__ import annotations

import logging
import pickle
import sys
from collections.abc import Mapping
from typing import Any, Final

log = logging.getLogger("headgate.app")

SAVED: Final = "saved_session"
"""Flask-SocketIO's key for the session of a client's events."""
_MARK: Final = "f"
_PASSING: Final = ("wsgi.", "werkzeug.", "flask.", "headgate.")
_told: set[str] = set()


def restore(environ: dict[str, Any], state: Mapping[str, bytes]) -> None:
    """Put what earlier events left into the environ."""
    saved: dict[str, Any] | None = None
    for key, raw in state.items():
        kind, name = key[:1], key[1:]
        if kind == "e":
            environ[name] = pickle.loads(raw)
        elif kind == _MARK:
            saved = saved if saved is not None else _session()
            if name:
                saved[name] = pickle.loads(raw)
    if saved is not None:
        environ[SAVED] = saved


def changes(
    environ: Mapping[str, Any],
    before: frozenset[str],
    state: Mapping[str, bytes],
    sessions: Mapping[str, dict[str, Any]],
) -> dict[str, bytes]:
    """What an event has changed.

    Args:
        before: keys of the environ that the handshake gave it.
        state: the entries as they were.
        sessions: python-socketio's own, by namespace.
    """
    now: dict[str, bytes] = {}
    saved = environ.get(SAVED)
    if saved is not None:
        now[_MARK] = b"1"
        for name, value in saved.items():
            _pack(now, f"{_MARK}{name}", value)
    for name, value in environ.items():
        if name not in before and name != SAVED and not name.startswith(_PASSING):
            _pack(now, f"e{name}", value)
    changed = {key: raw for key, raw in now.items() if state.get(key) != raw}
    changed |= {key: b"" for key in state if key[:1] in ("e", _MARK) and key not in now}
    for namespace, session in sessions.items():
        raw = pickle.dumps(session) if session else b""
        if state.get(f"s{namespace}", b"") != raw:
            changed[f"s{namespace}"] = raw
    return changed


def _pack(into: dict[str, bytes], key: str, value: Any) -> None:
    try:
        into[key] = pickle.dumps(value)
    except Exception as exc:  # whatever __reduce__ raises
        if key not in _told:
            _told.add(key)
            log.warning(
                "Socket.IO: %r of a client cannot be kept for its next event (%s): keep what pickles, such as an id",
                key[1:],
                exc,
            )


def _session() -> dict[str, Any]:
    """An empty session of Flask-SocketIO's own kind."""
    made = getattr(sys.modules.get("flask_socketio"), "_ManagedSession", dict)
    session: dict[str, Any] = made()
    return session
