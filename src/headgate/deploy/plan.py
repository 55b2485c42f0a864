"""The plan of a deployment: names, folders, sizes and times, derived from one another before anything is written."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from headgate.base.errors import ConfigError
from headgate.config.app import check
from headgate.config.settings import Settings
from headgate.deploy.releases import Release

_NAME: Final = re.compile(r"[a-z](?:[a-z0-9_]|-(?=[a-z0-9_])){0,30}")
_SECRET_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_FOLDER: Final = re.compile(r"/[A-Za-z0-9._~/-]*")
"""What nginx and systemd read as a path without quotes."""
_DOMAIN: Final = re.compile(
    r"(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
_SPARE_DESCRIPTORS: Final = 4_096
"""For files, links and databases, beside the clients' sockets."""
_STOP_SPARE: Final = 15.0
"""Seconds between the end of a drain and systemd's kill."""
_PER_ADDRESS: Final = 200


@dataclass(frozen=True)
class Plan:
    """All that the templates need to know.

    Args:
        app: the app, as `headgate run` takes it.
        name: of the service, its user, its folders and its SELinux types.
        domain: the host name that nginx serves.
        release: the system.
        settings: Headgate's own.
        environment: variables of the service that are no secrets.
        secrets: names of credentials; the files are the operator's to fill.
        static: URL prefix → folder that nginx serves by itself.
        certificates: pairs of certificate and key that nginx has already; none: the system's folders, by the domain.
        write_execute: the app needs memory that is written and executed (cffi callbacks, gevent, numba).
        memory: bytes of memory of the machine, of which the slices get their shares; 0 where it is not known.
    """

    app: str
    name: str
    domain: str
    release: Release
    settings: Settings
    environment: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    static: dict[str, str] = field(default_factory=dict)
    certificates: tuple[tuple[str, str], ...] = ()
    write_execute: bool = False
    memory: int = 0
    notes: tuple[str, ...] = ()
    """What could not be taken over from the old deployment."""

    # Folders
    @property
    def home(self) -> PurePosixPath:
        """The app and its virtual environment; root's, and only read by the service."""
        return PurePosixPath("/opt") / self.name

    @property
    def etc(self) -> PurePosixPath:
        return PurePosixPath("/etc") / self.name

    @property
    def state(self) -> PurePosixPath:
        """The data folder of the web service: the broker's database, sockets, spooled bodies."""
        return PurePosixPath("/var/lib") / self.name

    @property
    def jobs_state(self) -> PurePosixPath:
        """The data folder of the jobs' service: a supervisor has one of its own."""
        return self.state / "jobs"

    @property
    def socket(self) -> PurePosixPath:
        """Where nginx finds the gateways."""
        return PurePosixPath("/run") / self.name / "http.sock"

    @property
    def executable(self) -> PurePosixPath:
        return self.home / "venv/bin/headgate"

    @property
    def own_broker(self) -> bool:
        return self.settings.broker == "embedded"

    @property
    def jobs_broker(self) -> str:
        """Where the jobs' service finds the engine."""
        return f"unix:{self.state}/run/broker.sock" if self.own_broker else self.settings.broker

    @property
    def extras(self) -> str:
        """What this deployment needs of Headgate's extras, as pip takes them after a folder or a wheel."""
        return "[flask]" if self.own_broker else "[flask,redis]"

    @property
    def own_static(self) -> tuple[str, ...]:
        """The folders of static files that lie in the app's, and that nginx is let into."""
        return tuple(each for each in self.static.values() if PurePosixPath(each).is_relative_to(self.home))

    @property
    def tls(self) -> tuple[tuple[str, str], ...]:
        """The certificates and keys that nginx reads."""
        folder = "/etc/pki/tls" if self.release.selinux else "/etc/ssl"
        usual = (f"{folder}/certs/{self.domain}.crt", f"{folder}/private/{self.domain}.key")
        return self.certificates or (usual,)

    @property
    def tls_files(self) -> str:
        """The same as words of a shell."""
        return shlex.join(path for pair in self.tls for path in pair)

    @property
    def units(self) -> tuple[str, ...]:
        """The units that are started and enabled, in their order."""
        own = (f"{self.name}-backup.timer",) if self.own_broker else ()
        return (f"{self.name}.socket", f"{self.name}-web.service", f"{self.name}-jobs.service", *own)

    # Sizes and times
    @property
    def descriptors(self) -> int:
        """Open files of the web service: a client's socket is one, and a spooled body another."""
        return 2 * self.settings.max_connections * self.settings.gateways + _SPARE_DESCRIPTORS

    @property
    def nginx_connections(self) -> int:
        """Of each nginx worker: the client's and ours."""
        return 2 * self.settings.max_connections

    @property
    def nginx_descriptors(self) -> int:
        return 2 * self.nginx_connections + _SPARE_DESCRIPTORS

    @property
    def stop_seconds(self) -> int:
        """systemd's patience: more than the drain's."""
        return round(self.settings.stop_timeout + _STOP_SPARE)

    @property
    def reload_seconds(self) -> int:
        return round(self.settings.boot_timeout + self.settings.reload_timeout + _STOP_SPARE)

    @property
    def start_seconds(self) -> int:
        return round(4 * self.settings.boot_timeout)

    @property
    def watchdog_seconds(self) -> int:
        return 30

    @property
    def read_seconds(self) -> int:
        """nginx's patience with a silent socket: a ping and its time-out, and as much again."""
        return round(2 * (self.settings.ping_interval + self.settings.ping_timeout))

    @property
    def request_seconds(self) -> int:
        """nginx's patience with a request."""
        return max(self.read_seconds, round(self.settings.slow_queue_age + (self.settings.request_timeout or 300)))

    @property
    def body_kilobytes(self) -> int:
        """nginx's body limit, one above ours: it is Headgate that says 413, with its own page."""
        return self.settings.max_body // 1024 + 1

    @property
    def per_address(self) -> int:
        return _PER_ADDRESS

    @property
    def tasks(self) -> int:
        """Threads and processes of the web service, twice what the settings can reach."""
        settings = self.settings
        threads = settings.workers * settings.threads
        threads += settings.slow_workers * max(settings.slow_threads, settings.slow_threads_most)
        threads += (settings.workers + settings.slow_workers) * settings.loop_threads
        return 2 * threads + 64 * (settings.gateways + settings.workers + settings.slow_workers + 2)

    @property
    def jobs_tasks(self) -> int:
        return 128 * max(1, self.settings.jobs)

    def share(self, percent: int) -> str:
        """A share of the memory as systemd writes it: a percentage, which follows the machine."""
        return f"{percent}%"


def name_of(app: str, name: str = "") -> str:
    """The service's name: the one that was given, or that of the app's module."""
    return name or re.sub(r"[^a-z0-9_-]", "-", app.partition(":")[0].rpartition(".")[2].lower())


def make(
    app: str,
    domain: str,
    release: Release,
    settings: Settings,
    *,
    name: str = "",
    environment: dict[str, str] | None = None,
    secrets: tuple[str, ...] = (),
    static: dict[str, str] | None = None,
    certificates: tuple[tuple[str, str], ...] = (),
    write_execute: bool = False,
    notes: tuple[str, ...] = (),
) -> Plan:
    """Check what was given and complete it.

    Raises:
        ConfigError: the app, the domain or the name cannot be used; a folder of static files is not absolute.
    """
    check(app)
    chosen = name_of(app, name)
    if _NAME.fullmatch(chosen) is None or chosen in ("root", "nginx", "headgate"):
        raise ConfigError(
            f"{chosen!r} cannot be the name of the service: small letters, digits, - and _, a letter first, at most "
            "31, and not a system user's. Give one with --name."
        )
    if _DOMAIN.fullmatch(domain.lower()) is None:
        raise ConfigError(f"--domain {domain!r} is no host name; write it as in shop.example.com.")
    for prefix, folder in (static or {}).items():
        # Without its last slash, a prefix would let `/static../` out of the folder.
        if not (prefix.endswith("/") and _FOLDER.fullmatch(prefix) and _FOLDER.fullmatch(folder)):
            raise ConfigError(
                f"--static {prefix}={folder}: write it as /static/=/opt/{chosen}/app/static, the prefix with a slash "
                "at both ends, and both of letters, digits and . _ ~ - alone."
            )
    for key, value in (environment or {}).items():
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key) is None:
            raise ConfigError(f"{key!r} is no name of an environment variable.")
        if any(ord(sign) < 32 for sign in value):
            raise ConfigError(f"the value of {key} has a line break or another control character.")
    for secret in secrets:
        if _SECRET_NAME.fullmatch(secret) is None:
            raise ConfigError(f"{secret!r} is no name of a credential: letters, digits, _ . and -.")
    if settings.secret:
        notes = (*notes, "the setting secret is not written to a file; set HEADGATE_SECRET for both services")
    return Plan(
        app,
        chosen,
        domain.lower(),
        release,
        settings,
        dict(environment or {}),
        secrets,
        dict(static or {}),
        certificates,
        write_execute,
        notes=notes,
    )
