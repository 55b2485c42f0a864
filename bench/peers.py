"""The peers' environments: one virtual environment each under `.peers/`, from pinned and hashed requirements."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

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
