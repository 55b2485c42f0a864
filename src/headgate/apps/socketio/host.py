"""The Socket.IO server of an app worker, if its app has one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headgate.apps.environ import EnvironMaker
from headgate.apps.socketio.describe import describe, served_by
from headgate.apps.socketio.links import LinkOutlet
from headgate.declare.socketio import hook, outlet
from headgate.link.socketio import SioServer

if TYPE_CHECKING:
    from headgate.apps.socketio.runner import SocketioRunner


class Socketio:
    """What an app worker has for Socket.IO."""

    def __init__(self, runner: SocketioRunner, outlet: LinkOutlet, described: SioServer) -> None:
        self.runner = runner
        self.outlet = outlet
        self.described = described


def host_socketio(app: Any, flask_app: Any, environs: EnvironMaker) -> Socketio | None:
    """Take an app's Socket.IO server into service.

    Raises:
        ConfigError: it is configured in a way that the gateways cannot serve.
    """
    hook.imported()
    found = served_by(app, flask_app)
    if found is None:
        return None
    from headgate.apps.socketio.runner import SocketioRunner  # needs python-socketio, which the app has imported

    server, path = found
    links = LinkOutlet(environs)
    outlet.use(links)
    return Socketio(SocketioRunner(app, server, environs, links), links, describe(server, path))
