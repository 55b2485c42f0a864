"""A private PostgreSQL: its own folder and port, trust authentication, on loopback only."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql

from tests.support.folders import short_folder
from tests.support.process import Process, program, unprivileged
from tests.support.wait import free_port


class Postgres:
    """A server of this test run; PostgreSQL refuses root, so as root it runs as another user.

    Args:
        durable: with fsync, as in production (benchmarks); tests do without.
        options: further settings, as in postgresql.conf.
    """

    def __init__(self, *, durable: bool = False, options: dict[str, str] | None = None) -> None:
        self.folder = short_folder("pg")
        self.port = free_port()
        self.user = unprivileged()
        if self.user is not None:
            owner = pwd.getpwnam(self.user)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        data = self.folder / "data"
        self._initdb(data)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "max_connections": "200",
            "fsync": "on" if durable else "off",
            "full_page_writes": "on" if durable else "off",
            **(options or {}),
        }
        flags = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        command = [program("postgres"), "-D", str(data), *flags]
        self.process = Process("postgres", command, self.folder, user=self.user)
        self.process.wait_ready(self._answers)

    def _initdb(self, data: Path) -> None:
        command = [program("initdb"), "-D", str(data), "-U", "headgate", "-A", "trust", "-E", "UTF8", "--no-sync"]
        initdb = Process("initdb", [*command, "--locale=C.UTF-8"], self.folder, user=self.user)
        status = initdb.popen.wait(60)
        if status != 0:
            raise AssertionError(f"initdb ended with {status}:\n{initdb.log()}")

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://headgate@127.0.0.1:{self.port}/{database}"

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def create(self, database: str) -> str:
        """Create an empty database; returns its URL."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        return self.url(database)

    def drop(self, database: str) -> None:
        """Drop a database, also while connections to it are open."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))

    def close(self) -> None:
        """A fast shutdown (SIGINT: open sessions are ended), and the folder removed."""
        self.process.stop(signal.SIGINT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
