"""A private MariaDB: its own folder and port, no password, on loopback only."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path
from typing import Self

import pymysql

from tests.support.folders import short_folder
from tests.support.process import Process, program, unprivileged
from tests.support.wait import free_port


class MariaDB:
    """A server of this test run; as root it runs as another user, as MariaDB demands.

    Args:
        durable: with fsync at each commit, as in production (benchmarks); tests do without.
        options: further settings, as in my.cnf.
    """

    def __init__(self, *, durable: bool = False, options: dict[str, str] | None = None) -> None:
        self.folder = short_folder("maria")
        self.port = free_port()
        self.user = unprivileged()
        if self.user is not None:
            owner = pwd.getpwnam(self.user)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        data = self.folder / "data"
        self._install(data)
        settings = {
            "datadir": str(data),
            "bind-address": "127.0.0.1",
            "port": str(self.port),
            "socket": str(self.folder / "sock"),
            "pid-file": str(self.folder / "pid"),
            "tmpdir": str(self.folder),
            "skip-grant-tables": "1",
            "skip-networking": "0",
            "innodb-flush-log-at-trx-commit": "1" if durable else "0",
            **(options or {}),
        }
        flags = [f"--{key}={value}" for key, value in settings.items()]
        command = [program("mariadbd", "mysqld"), "--no-defaults", *flags]
        self.process = Process("mariadb", command, self.folder, user=self.user)
        self.process.wait_ready(self._answers, 60)

    def _install(self, data: Path) -> None:
        command = [program("mariadb-install-db"), "--no-defaults", f"--datadir={data}", "--skip-test-db"]
        install = Process(
            "install", [*command, "--auth-root-authentication-method=normal"], self.folder, user=self.user
        )
        status = install.popen.wait(120)
        if status != 0:
            raise AssertionError(f"mariadb-install-db ended with {status}:\n{install.log()}")

    def url(self, database: str = "mysql") -> str:
        return f"mysql+pymysql://root@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "mysql") -> pymysql.Connection[pymysql.cursors.Cursor]:
        return pymysql.connect(host="127.0.0.1", port=self.port, user="root", database=database, autocommit=True)

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except pymysql.MySQLError:
            return False
        return True

    def _execute(self, statement: str) -> None:
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()

    def create(self, database: str) -> str:
        """Create an empty database; returns its URL."""
        self._execute(f"CREATE DATABASE `{database}` CHARACTER SET utf8mb4")
        return self.url(database)

    def drop(self, database: str) -> None:
        self._execute(f"DROP DATABASE IF EXISTS `{database}`")

    def close(self) -> None:
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
