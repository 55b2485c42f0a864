"""What the running system says: kernel limits, SELinux, FIPS, connections, processes. Read from /proc and /sys."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from headgate.readers.commands import Server, server_of
from headgate.readers.place import Place
from headgate.readers.value import Value

_TIME_WAIT: Final = "06"
_LOG_TAIL: Final = 4 << 20
_DENIED: Final = re.compile(r'type=AVC.*denied.*comm="(?:gunicorn|python|nginx|headgate|celery|rq)')
_REFUSED: Final = re.compile(r"\(13: Permission denied\) while connecting")


@dataclass
class Host:
    """The system's facts; empty where it was not looked at."""

    values: dict[str, Value] = field(default_factory=dict)
    """`net.core.somaxconn`, `net.ipv4.ip_local_port_range`, `fips`, `selinux`, `fapolicyd`, `os` …"""
    time_wait: dict[str, int] = field(default_factory=dict)
    """Remote address:port → connections of ours in TIME_WAIT."""
    domains: dict[int, str] = field(default_factory=dict)
    """Process id of a server → its SELinux context."""
    descriptors: dict[int, int] = field(default_factory=dict)
    """Process id of a server → its soft limit of open files."""
    denials: list[Place] = field(default_factory=list)
    """AVC denials that name a server's program."""
    refused: list[Place] = field(default_factory=list)
    """nginx's `(13: Permission denied) while connecting to upstream`."""

    @property
    def release(self) -> str:
        """ID and version of the system, such as `rhel 9.6`."""
        found = self.values.get("os")
        return "" if found is None else found.text


def look(root: Path = Path("/")) -> tuple[Host, list[Server]]:
    """Look at the system, and find the servers that run on it.

    Args:
        root: where /proc, /sys, /etc and /var are.
    """
    host = Host()
    for name in ("net.core.somaxconn", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_max_syn_backlog", "fs.file-max"):
        _value(host, name, root / "proc/sys" / name.replace(".", "/"))
    _value(host, "fips", root / "proc/sys/crypto/fips_enabled")
    _value(host, "selinux", root / "sys/fs/selinux/enforce")
    _release(host, root / "etc/os-release")
    for table in ("tcp", "tcp6"):
        _connections(host, root / "proc/net" / table)
    servers = list(_processes(host, root))
    _log(host.denials, root / "var/log/audit/audit.log", _DENIED)
    _log(host.refused, root / "var/log/nginx/error.log", _REFUSED)
    return host, servers


def _value(host: Host, name: str, path: Path) -> None:
    try:
        text = " ".join(path.read_text().split())
    except OSError:
        return
    host.values[name] = Value(text, Place(f"/{name}" if name == "os" else str(path), 0, f"{name} = {text}"))


def _release(host: Host, path: Path) -> None:
    try:
        lines = dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
    except OSError:
        return
    text = f"{lines.get('ID', '')} {lines.get('VERSION_ID', '')}".replace('"', "").strip()
    host.values["os"] = Value(text, Place(str(path), 0, text))


def _connections(host: Host, path: Path) -> None:
    try:
        lines = path.read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        parts = line.split()
        if len(parts) > 3 and parts[3] == _TIME_WAIT:
            address, _, port = parts[2].rpartition(":")
            remote = f"{_address(address)}:{int(port, 16)}"
            host.time_wait[remote] = host.time_wait.get(remote, 0) + 1


def _address(text: str) -> str:
    """An address of /proc/net/tcp (little-endian words) as one writes it."""
    if len(text) == 8:
        return ".".join(str(int(text[index : index + 2], 16)) for index in (6, 4, 2, 0))
    return text


def _processes(host: Host, root: Path) -> Iterator[Server]:
    """The servers that run; of a server with its workers only the first process counts."""
    seen: dict[int, str] = {}
    for folder in sorted((root / "proc").glob("[0-9]*"), key=lambda each: int(each.name)):
        pid = int(folder.name)
        try:
            words = (folder / "cmdline").read_text(errors="replace").split("\0")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if "fapolicyd" in words[0]:
            host.values["fapolicyd"] = Value("running", Place(f"pid {pid}", 0, words[0]))
        line = " ".join(f"'{word}'" for word in words if word)
        try:
            cwd = (folder / "cwd").resolve()
        except OSError:
            cwd = Path("/nonexistent")
        server = server_of(line, Place(f"pid {pid}", 0, " ".join(words).strip()), cwd)
        if server is None:
            continue
        seen[pid] = server.kind
        if seen.get(parent) == server.kind:
            continue
        server.pid = pid
        _of_process(host, folder, pid)
        yield server


def _of_process(host: Host, folder: Path, pid: int) -> None:
    with contextlib.suppress(OSError):
        host.domains[pid] = (folder / "attr/current").read_text().strip("\0 \n")
    try:
        limits = (folder / "limits").read_text()
    except OSError:
        return
    found = re.search(r"Max open files\s+(\d+)", limits)
    if found:
        host.descriptors[pid] = int(found.group(1))


def _log(places: list[Place], path: Path, pattern: re.Pattern[str]) -> None:
    """Matching lines of a log's end."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return
    places += [Place(str(path), 0, line[:300]) for line in lines if pattern.search(line)][-20:]
