"""A private RabbitMQ: its own node, ports, folders and cookie, on loopback only; never a service."""

from __future__ import annotations

import os
import shutil
from typing import Self

from tests.support.folders import short_folder
from tests.support.process import Process, program
from tests.support.wait import accepts, free_port

SCRIPTS = ("/usr/lib/rabbitmq/bin",)
"""Debian's wrapper in PATH changes the user; the script itself does not."""


class RabbitMQ:
    """A server of this test run. `kill` and `restart` keep its data."""

    def __init__(self) -> None:
        self.folder = short_folder("rabbit")
        self.port, self._epmd, self._dist = free_port(), free_port(), free_port()
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.console = true\nlog.console.level = warning\n"
        )
        (self.folder / "plugins").write_text("[].")
        self.env = {
            "HOME": str(self.folder),
            "RABBITMQ_HOME": "/usr/lib/rabbitmq",
            "RABBITMQ_NODENAME": f"t{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_DIST_PORT": str(self._dist),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RUNNING_UNDER_SYSTEMD": "true",  # its script becomes the node: a signal to the one reaches the other
            "ERL_EPMD_PORT": str(self._epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        # Erlang's name server would outlive the node that starts it.
        self._names = Process("epmd", [program("epmd")], self.folder, env=self.env)
        self._names.wait_ready(lambda: accepts(self._epmd))
        self.process = self._start()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()

    def restart(self) -> None:
        """Start again on the same port and folder."""
        self.process = self._start()

    def close(self) -> None:
        self.process.stop()
        self._names.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> Process:
        script = shutil.which("rabbitmq-server", path=os.pathsep.join(SCRIPTS)) or program("rabbitmq-server")
        process = Process("rabbitmq", [script], self.folder, env=self.env)
        return process.wait_ready(lambda: accepts(self.port), 60)
