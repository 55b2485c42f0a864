"""What an old deployment's files say, in Headgate's words: and what of it has no place here."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec

from headgate.config.load import Loaded
from headgate.config.settings import Settings
from headgate.readers import commands, nginx, units
from headgate.readers.place import Place
from headgate.readers.value import Value, seconds

_SECRET: Final = re.compile("SECRET|PASS|TOKEN|KEY|CREDENTIAL|DATABASE_UR[IL]|DSN", re.IGNORECASE)
_IN_ADDRESS: Final = re.compile(r"://[^/@\s]*:[^/@\s]*@")
"""A password within an address."""
_FILE: Final = re.compile(r"(?:sqlite(?:\+\w+)?:///|file:(?://)?)?(/[^\s:?]+)(?:\?.*)?")
"""An absolute path, or SQLite's address of one."""
_READ_ONLY: Final = ("/usr/", "/etc/", "/bin/", "/lib/", "/lib64/", "/dev/", "/proc/", "/sys/")
"""Folders of which an app's variable names what is read, not written."""
_PATHS: Final = ("PATH", "VIRTUAL_ENV", "PYTHONPATH")
_PLAIN_PATH: Final = re.compile(r"[^\s\"'\\$;{}#:]+")
"""What nginx reads as a file without quotes: no variable, no `data:`, no key of an engine."""
_NGINX: Final = PurePosixPath("/etc/nginx")
"""Where nginx looks for a certificate whose path is not absolute."""
_MADE: Final = "Made by `headgate deploy`"
"""In the head of a site of ours, which lies where the old one lay when a deployment is repeated."""
_NO_PLACE: Final = {
    "worker_class": "Headgate finds out itself how the app wants to be run",
    "worker_connections": "sockets are bounded by max_connections, for each gateway",
    "max_requests": "app workers hold no sockets and are not recycled",
    "max_requests_jitter": "app workers hold no sockets and are not recycled",
    "preload_app": "each process loads the app itself; nothing is shared by a fork",
    "forwarded_allow_ips": "trusted_proxies is the Unix socket alone",
    "keepalive": "nginx keeps connections to the socket",
    "user": "the service has a user of its own",
    "group": "the service has a user of its own",
    "pidfile": "systemd knows the process",
    "daemon": "systemd runs it in the foreground",
    "accesslog": "access_log = true writes it to the journal",
    "errorlog": "logs go to the journal",
    "loglevel": "log_level, where it is not info",
    "worker_tmp_dir": "there is no heartbeat file",
    "backlog": "the socket unit has 4096",
}


_BY_HAND: Final = (
    "auth_basic",
    "allow",
    "deny",
    "proxy_cache",
    "rewrite",
    "sub_filter",
    "ssl_password_file",
    "ssl_client_certificate",
    "ssl_verify_client",
    "ssl_trusted_certificate",
    "ssl_stapling",
)
"""Directives of nginx's that have a meaning still, and no place in the templates."""


@dataclass(frozen=True)
class Site:
    """A server of nginx's that speaks TLS: its names, and its pairs of certificate and key."""

    names: tuple[str, ...]
    certificates: tuple[tuple[str, str], ...]
    place: Place

    def serves(self, domain: str) -> bool:
        """Whether one of its names is the domain, or covers it (`*.example.com`, `.example.com`)."""
        return any(
            name == domain or (name[:1] in ("*", ".") and f".{domain}".endswith(name.removeprefix("*")))
            for name in self.names
        )


@dataclass
class Old:
    """An old deployment, as far as it was understood."""

    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    static: dict[str, str] = field(default_factory=dict)
    sites: list[Site] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    paths: list[tuple[Place, str, str]] = field(default_factory=list)
    """Variables that name a file or a folder: where, the variable, the path."""
    hidden: list[tuple[Place, str]] = field(default_factory=list)
    """Variables that are secrets: where, the variable."""

    def give(self, variables: Collection[str]) -> None:
        """Forget what it says of variables that are given anew: they are secrets no more, and name other paths."""
        names = {each.lower() for each in variables}
        self.secrets = tuple(each for each in self.secrets if each not in names)
        self.hidden = [each for each in self.hidden if each[1] not in variables]
        self.paths = [each for each in self.paths if each[1] not in variables]

    def note_secrets(self) -> None:
        """Note what is not taken over because it is a secret."""
        for place, variable in self.hidden:
            self.notes.append(
                f"{place}: {variable} is a secret; README.md says where it goes, and how the app reads it"
            )

    def note_paths(self, name: str) -> None:
        """Note those that name what the service of that name may not write."""
        for place, variable, path in self.paths:
            if not f"{path}/".startswith((f"/var/lib/{name}/", "/tmp/", "/var/tmp/")):
                self.notes.append(
                    f"{place}: {variable} names {path}, which the service may not write: move it to /var/lib/{name}, "
                    "or add ReadWritePaths= and a file context"
                )

    def certificates(self, domain: str) -> tuple[tuple[str, str], ...]:
        """The certificates and keys of the site that serves the domain; the only ones there are, whatever their site's
        names. Without an answer it notes those that it has left out."""
        pairs = {site.certificates for site in self.sites}
        found = next((site.certificates for site in self.sites if site.serves(domain)), None)
        if found is None and len(pairs) == 1:
            (found,) = pairs
        for site in self.sites if found is None else ():
            names = " ".join(site.names) or "a site without a name"
            self.notes.append(f"{site.place}: ssl_certificate of {names}, which is not {domain}")
        return found or ()


def read(sources: Iterable[Path]) -> Old:
    """Read an old deployment's files: gunicorn's configuration, systemd units, supervisord's, nginx's.

    Raises:
        ConfigError: an nginx configuration is among them, and crossplane is not installed.
    """
    old = Old()
    for path in sources:
        _take(old, path)
    return old


def settings_with(found: Loaded, old: Old) -> Settings:
    """The settings, completed by the old deployment where nobody has said otherwise."""
    fresh = {key: value for key, value in old.settings.items() if key not in found.origins}
    return msgspec.structs.replace(found.settings, **fresh)


def _take(old: Old, path: Path) -> None:
    if path.suffix == ".py":
        _gunicorn(old, commands.config_of(path, path.name))
    elif path.suffix == ".service" or "supervisor" in path.name:
        unit = units.read(path, path.name)
        if unit is not None:
            _unit(old, unit)
    else:
        root = nginx.read(path, path.name)
        if root is None or not list(root.all("server")) + list(root.all("location")):
            old.notes.append(f"{path.name}: neither gunicorn, systemd, supervisord nor nginx can be seen in it")
        else:
            _nginx(old, root, ours=_MADE in path.read_text(encoding="utf-8", errors="replace"))


def _unit(old: Old, unit: units.Unit) -> None:
    for server in commands.in_unit(unit):
        if server.kind == "gunicorn":
            _gunicorn(old, server.options)
        elif server.kind == "uvicorn":
            _uvicorn(old, server.options)
        else:
            old.notes.append(f"{server.place}: {server.kind} workers; make their functions jobs, or keep them beside")
    for name, value in unit.environment().items():
        named = _FILE.fullmatch(value.text.replace("%%", "%"))
        # A secret may begin with a slash by chance, and must not be told.
        told = name not in _PATHS and (not _SECRET.search(name) or "://" in value.text)
        if named and told and not named[1].startswith(_READ_ONLY):
            old.paths.append((value.place, name, named[1]))
        if _SECRET.search(name) or _IN_ADDRESS.search(value.text):
            old.secrets = (*old.secrets, name.lower())
            old.hidden.append((value.place, name))
        elif name not in ("PATH", "VIRTUAL_ENV", "PYTHONUNBUFFERED", "WEB_CONCURRENCY"):
            old.environment[name] = value.text.replace("%%", "%")  # what a unit writes for one
    for value in unit.all("Service", "EnvironmentFile"):
        old.notes.append(f"{value.place}: EnvironmentFile={value.text}; name its variables with --env and --secret")


def _gunicorn(old: Old, options: dict[str, Value]) -> None:
    for name, value in options.items():
        number = value.number
        if name == "workers" and number is not None:
            # Headgate's workers are two lanes: the larger half answers what is fast.
            old.settings["workers"] = max(1, (number + 1) // 2)
            old.settings["slow_workers"] = max(1, number // 2)
        elif name == "threads" and number is not None and number > 1:
            old.settings["slow_threads"] = max(number, 8)
        elif name == "timeout" and number is not None:
            if number:
                old.settings["request_timeout"] = float(number)
        elif name == "graceful_timeout" and number is not None:
            old.settings["stop_timeout"] = float(number)
        elif name == "limit_request_line" and number:
            old.settings["max_target"] = number
        elif name == "bind":
            old.notes.append(f"{value.place}: bind {value.text}; nginx reaches the service by a Unix socket now")
        elif name in _NO_PLACE:
            old.notes.append(f"{value.place}: {name}; {_NO_PLACE[name]}")
        elif name not in ("config", "access_logformat", "chdir", "wsgi_app", "pythonpath", "name"):
            old.notes.append(f"{value.place}: {name} is not known to Headgate")


def _uvicorn(old: Old, options: dict[str, Value]) -> None:
    for name, value in options.items():
        if name == "workers" and value.number is not None:
            old.settings["workers"] = value.number
        elif name == "timeout_graceful_shutdown" and value.number:
            old.settings["stop_timeout"] = float(value.number)
        elif name == "root_path":
            old.settings["root_path"] = value.text
        elif name not in ("host", "port", "uds", "proxy_headers", "loop", "http", "ws"):
            old.notes.append(f"{value.place}: {name} is not known to Headgate")


def _nginx(old: Old, root: nginx.Block, ours: bool) -> None:
    for block in root.all("client_max_body_size"):
        size = _bytes(block.args[0])
        if size:
            # In a site of ours it is one kilobyte more, and must not grow with each deployment.
            old.settings["max_body"] = size - 1024 if ours else size
    for server in root.all("server"):
        _certificates(old, server)
    for location in root.all("location"):
        folder = location.own("alias") or location.own("root")
        if folder and location.args and location.args[0].startswith("/") and not location.own("proxy_pass"):
            prefix = location.args[0]
            below = folder[0].args[0].rstrip("/") + (prefix if folder[0].name == "root" else "")
            old.static[prefix.rstrip("/") + "/"] = below
        wait = location.inherited("proxy_read_timeout")
        length = seconds(wait.args[0]) if wait is not None else None
        if length and location.own("proxy_pass") and length > 60 and not ours:
            old.notes.append(
                f"{wait.place if wait else ''}: proxy_read_timeout; it follows from Headgate's own times now"
            )
    for name in _BY_HAND:
        for block in root.all(name):
            old.notes.append(f"{block.place}: {name}; add it to the new nginx configuration yourself")


def _certificates(old: Old, server: nginx.Block) -> None:
    """Those of one server, or of the block around it: several pairs stand for several kinds of key."""
    first, key = server.inherited("ssl_certificate"), server.inherited("ssl_certificate_key")
    if first is None or key is None or first.parent is None or key.parent is None:
        return
    words = zip(first.parent.own("ssl_certificate"), key.parent.own("ssl_certificate_key"), strict=False)
    pairs = [(certificate.value.text, key.value.text) for certificate, key in words]
    if not all(_PLAIN_PATH.fullmatch(path) for pair in pairs for path in pair):
        old.notes.append(f"{first.place}: ssl_certificate is no plain path; put it into the new nginx configuration")
        return
    names = tuple(name.lower() for block in server.own("server_name") for name in block.args)
    absolute = tuple((str(_NGINX / certificate), str(_NGINX / key)) for certificate, key in pairs)
    old.sites.append(Site(names, absolute, first.place))


def _bytes(text: str) -> int:
    scale = {"k": 1024, "m": 1024**2, "g": 1024**3}.get(text[-1:].lower(), 1)
    digits = text[:-1] if scale > 1 else text
    return int(digits) * scale if digits.isdigit() else 0
