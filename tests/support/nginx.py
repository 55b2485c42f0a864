"""nginx with a configuration of the test's: nothing of the machine's own configuration is read."""

from __future__ import annotations

import os
import shutil
from typing import Self

from tests.support.folders import short_folder
from tests.support.process import Process, program
from tests.support.wait import accepts, until

FRAME = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr info;
worker_processes 1;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{http}
}}
"""


class Nginx:
    """A server of this test run.

    Args:
        http: what goes into the `http` block: upstreams, maps and servers.
        port: the port of 127.0.0.1 that the configuration listens on; ready when it accepts.
    """

    def __init__(self, http: str, port: int) -> None:
        self.folder = short_folder("nginx")
        self.port = port
        user = "user root;" if os.getuid() == 0 else ""
        self.config = self.folder / "nginx.conf"
        self.config.write_text(FRAME.format(user=user, folder=self.folder, http=http))
        command = [program("nginx"), "-p", str(self.folder), "-c", str(self.config), "-e", "stderr"]
        self.process = Process("nginx", command, self.folder)
        try:
            self.process.wait_ready(lambda: accepts(port))
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def log(self) -> str:
        return self.process.log()

    def close(self) -> None:
        self.process.stop()
        until(lambda: not accepts(self.port), "nginx let go of its port")
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
