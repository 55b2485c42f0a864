"""What differs between the systems that a deployment can be for: all of it is here, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from headgate.base.errors import ConfigError


@dataclass(frozen=True)
class Release:
    """A system.

    Args:
        key: its name on the command line.
        title: its name in texts.
        systemd: the version that it ships; directives that are newer are left out.
        nginx: the version that it ships, as (major, minor).
        python: the interpreter, and the package that brings it.
        python_package: that package, with the headers' and pip's where they are apart.
        queue: the package of its Redis-compatible server.
        web_user: as whom nginx runs.
        unified: whether control groups are v2, without which weights of I/O do not hold.
        selinux: whether it enforces SELinux.
        firewalld: whether its firewall is firewalld.
        crypto_policy: whether OpenSSL follows the system's policy by the cipher string PROFILE=SYSTEM.
        install: the command that installs packages.
        streams: the module streams that nginx comes from, and its Redis.
        queue_note: what an operator has to know of its Redis, where one is used.
        note: what an operator has to know of it.
    """

    key: str
    title: str
    systemd: int
    nginx: tuple[int, int]
    python: str
    python_package: str
    queue: str
    web_user: str
    unified: bool
    selinux: bool
    firewalld: bool
    crypto_policy: bool
    install: str
    streams: tuple[str, ...] = ()
    queue_note: str = ""
    note: str = ""

    @property
    def notify_reload(self) -> bool:
        """`Type=notify-reload` is of systemd 253."""
        return self.systemd >= 253

    @property
    def credentials(self) -> bool:
        """`LoadCredential=` is of systemd 247."""
        return self.systemd >= 247


_EL9: Final = Release(
    key="el9",
    title="RHEL 9",
    systemd=252,
    nginx=(1, 24),
    python="python3.12",
    python_package="python3.12 python3.12-pip",
    queue="redis",
    web_user="nginx",
    unified=True,
    selinux=True,
    firewalld=True,
    crypto_policy=True,
    install="dnf install -y",
    streams=("nginx:1.24", "redis:7"),
)
_DEBIAN12: Final = Release(
    key="debian12",
    title="Debian 12",
    systemd=252,
    nginx=(1, 22),
    python="python3.11",
    python_package="python3-venv",
    queue="redis-server",
    web_user="www-data",
    unified=True,
    selinux=False,
    firewalld=False,
    crypto_policy=False,
    install="apt-get install -y",
)
RELEASES: Final[dict[str, Release]] = {
    each.key: each
    for each in (
        replace(
            _EL9,
            key="el8",
            title="RHEL 8.10",
            systemd=239,
            unified=False,
            streams=("nginx:1.24", "redis:6"),
            note="Control groups are v1: IOWeight holds only after a boot with systemd.unified_cgroup_hierarchy=1.",
        ),
        _EL9,
        replace(
            _EL9,
            key="el10",
            title="RHEL 10",
            systemd=257,
            nginx=(1, 26),
            python_package="python3 python3-pip",
            queue="valkey",
            streams=(),
            queue_note="There is no redis package: Valkey has taken its place, with the same protocol.",
        ),
        _DEBIAN12,
        replace(_DEBIAN12, key="debian13", title="Debian 13", systemd=257, nginx=(1, 26), python="python3.13"),
        replace(_DEBIAN12, key="ubuntu24.04", title="Ubuntu 24.04", systemd=255, nginx=(1, 24), python="python3.12"),
    )
}

FAMILIES: Final = {"rhel": "el9", "debian": "debian12", "ubuntu": "ubuntu24.04"}
"""What a family means when no version is named."""


def release(name: str) -> Release:
    """A release by its key or its family.

    Raises:
        ConfigError: there is none of that name.
    """
    found = RELEASES.get(FAMILIES.get(name, name))
    if found is None:
        raise ConfigError(f"deploy knows no system {name!r}; it knows {', '.join((*FAMILIES, *RELEASES))}.")
    return found


HARDENING: Final[tuple[tuple[str, str, int], ...]] = (
    ("NoNewPrivileges", "yes", 187),
    ("CapabilityBoundingSet", "", 24),
    ("AmbientCapabilities", "", 229),
    ("ProtectSystem", "strict", 232),
    ("ProtectHome", "yes", 214),
    ("PrivateTmp", "yes", 16),
    ("PrivateDevices", "yes", 209),
    ("PrivateUsers", "yes", 232),
    ("PrivateMounts", "yes", 239),
    ("DevicePolicy", "closed", 208),
    ("ProtectKernelTunables", "yes", 232),
    ("ProtectKernelModules", "yes", 232),
    ("ProtectKernelLogs", "yes", 244),
    ("ProtectControlGroups", "yes", 232),
    ("ProtectClock", "yes", 245),
    ("ProtectHostname", "yes", 242),
    ("ProtectProc", "invisible", 247),
    ("ProcSubset", "pid", 247),
    ("RestrictNamespaces", "yes", 233),
    ("RestrictRealtime", "yes", 231),
    ("RestrictSUIDSGID", "yes", 242),
    ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6", 211),
    ("LockPersonality", "yes", 235),
    ("MemoryDenyWriteExecute", "yes", 231),
    ("SystemCallArchitectures", "native", 209),
    ("SystemCallFilter", "@system-service", 187),
    ("SystemCallFilter", "~@privileged @resources", 187),
    ("SystemCallErrorNumber", "EPERM", 209),
    ("RemoveIPC", "yes", 232),
    ("KeyringMode", "private", 235),
    ("UMask", "0077", 1),
)
"""systemd.exec(5): directive, value, and the version of systemd that knows it."""
