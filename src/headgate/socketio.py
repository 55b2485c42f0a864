"""Socket.IO from outside: a script, a shell or another server emits to the clients of a running Headgate.

    import headgate.socketio                  # before flask_socketio or socketio
    from flask_socketio import SocketIO

    socketio = SocketIO(message_queue="headgate")       # the address does not matter: Headgate's broker is meant
    socketio.emit("news", {"from": "a script"}, to="room")

The broker is the one that HEADGATE_DATA, HEADGATE_BROKER or headgate.toml name, as for jobs. App workers and job
workers need none of this: the same call works there as it stands.
"""

from __future__ import annotations

import headgate.library  # noqa: F401 - it knows how to find the broker
from headgate.declare.socketio import hook

hook.meet()
