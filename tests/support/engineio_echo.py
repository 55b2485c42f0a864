"""A gateway whose Engine.IO sessions send back what they get: `python -m tests.support.engineio_echo FOLDER PORT`.

It is the layer below Socket.IO by itself, which the suite of the Engine.IO protocol is for.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

from headgate.config.settings import Settings
from headgate.gateway.gateway import Gateway
from headgate.gateway.socketio.codec import Parcel
from headgate.gateway.socketio.session import Session
from headgate.link.socketio import SioServer

SERVER = SioServer(
    path="/engine.io/",
    ping_interval=0.3,
    ping_timeout=0.2,
    max_payload=1_000_000,
    transports=["polling", "websocket"],
    allow_upgrades=True,
    cookie="",
    origins=None,
    same_origin=False,
    cors=True,
    credentials=True,
    compress=1024,
    serializer="default",
    namespaces={},
    accepted=[],
    always_connect=False,
    ordered=False,
)


class Echo:
    """The application."""

    def received(self, session: Session, data: str | bytes) -> None:
        session.send(Parcel(data))

    def closed(self, session: Session, reason: str) -> None:
        """Nothing is kept of it."""

    def overflowed(self, session: Session) -> None:
        """It is closed."""


class Never:
    """An order to stop that does not come: the process is killed."""

    async def wait(self) -> float:
        await asyncio.Event().wait()
        return 0.0

    def is_set(self) -> bool:
        return False


async def main(folder: Path, port: int) -> None:
    (folder / "run").mkdir(parents=True, exist_ok=True)
    public = socket.create_server(("127.0.0.1", port))
    link = socket.socket(socket.AF_UNIX)
    link.bind(str(folder / "link.sock"))
    link.listen()
    settings = Settings(data=str(folder))
    gateway = Gateway(settings, index=0, listeners=[public], link=link, engine=None, secret="none")
    front = gateway.socketio
    front.serves(SERVER)
    front.sessions.app = Echo()
    front.sessions.on_opened = lambda _session: None
    await gateway.run(lambda: print("ready", flush=True), Never())  # noqa: T201 - the test waits for it


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
