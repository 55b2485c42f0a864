"""The peers' environments: one virtual environment each under `.peers/`, from pinned and hashed requirements."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.support.process import program

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".peers"


@dataclass(frozen=True)
class Peer:
    """Someone else's server, in an environment of its own.

    `requirements` is a file of exact versions with hashes; `make constraints` renews it.
    """

    name: str
    requirements: Path

    @property
    def folder(self) -> Path:
        return PEERS / self.name

    def program(self, name: str) -> str:
        """The path of one of the peer's programs, after making sure that the environment is there."""
        self.prepare()
        return str(self.folder / "bin" / name)

    @property
    def path(self) -> str:
        """The folder to put first in PATH for scripts that name the peer's programs."""
        return str(self.folder / "bin")

    def prepare(self) -> None:
        """Create the environment, or create it anew when the requirements have changed."""
        stamp = self.folder / "requirements.sha256"
        wanted = hashlib.sha256(self.requirements.read_bytes()).hexdigest()
        if stamp.exists() and stamp.read_text() == wanted:
            return
        print(f"peers: creating {self.folder.relative_to(ROOT)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", self.folder], check=True)
        pip = [str(self.folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        subprocess.run([*pip, "--require-hashes", "-r", str(self.requirements)], check=True)
        stamp.write_text(wanted)

    @cached_property
    def versions(self) -> dict[str, str]:
        """`{package: version}` of all that is installed."""
        self.prepare()
        return installed(self.program("python"))


@dataclass(frozen=True)
class NodePeer:
    """A server on Node.js; `home` has its package.json and package-lock.json."""

    name: str
    home: Path

    @property
    def folder(self) -> Path:
        return PEERS / self.name

    def program(self, name: str) -> str:
        """The path of Node, after making sure that the packages are there."""
        self.prepare()
        return program(name)

    @property
    def path(self) -> str:
        """The folder of the packages' own programs."""
        return str(self.folder / "node_modules" / ".bin")

    @property
    def env(self) -> dict[str, str]:
        """Where Node finds the packages: the app does not lie beside them."""
        return {"NODE_PATH": str(self.folder / "node_modules")}

    def prepare(self) -> None:
        """Install what the lock file says, anew when it has changed."""
        lock, stamp = self.home / "package-lock.json", self.folder / "package-lock.json"
        if stamp.exists() and stamp.read_bytes() == lock.read_bytes() and (self.folder / "node_modules").exists():
            return
        print(f"peers: creating {self.folder.relative_to(ROOT)}", flush=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        shutil.copy(self.home / "package.json", self.folder)
        shutil.copy(lock, self.folder)
        npm = [program("npm"), "ci", "--omit=optional", "--no-audit", "--no-fund", "--silent"]
        subprocess.run(npm, cwd=self.folder, check=True)

    @cached_property
    def versions(self) -> dict[str, str]:
        """`{package: version}`, and Node's own."""
        locked = json.loads((self.home / "package-lock.json").read_text())["packages"]
        found = {path.rpartition("node_modules/")[2]: entry["version"] for path, entry in locked.items() if path}
        node = subprocess.run([program("node"), "--version"], check=True, capture_output=True, text=True).stdout
        return {**found, "node": node.strip().removeprefix("v")}


def installed(python: str) -> dict[str, str]:
    """`{package: version}` in the environment of an interpreter."""
    command = [python, "-m", "pip", "--disable-pip-version-check", "list", "--format", "json"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True)
    return {entry["name"].lower(): entry["version"] for entry in json.loads(listed.stdout)}


def named(name: str) -> Peer:
    """The peer with the requirements `bench/requirements/NAME.txt`."""
    return Peer(name, ROOT / "bench" / "requirements" / f"{name}.txt")


STORY = ROOT / "examples" / "story"
EVENTLET = Peer("eventlet", STORY / "peer_eventlet" / "requirements.txt")
STARLETTE_RQ = Peer("starlette_rq", STORY / "peer_starlette_rq" / "requirements.txt")
