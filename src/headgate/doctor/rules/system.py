"""Rules on the operating system: SELinux, FIPS, fapolicyd, packages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from headgate.doctor.case import Case
from headgate.doctor.model import Finding, Severity
from headgate.doctor.rules.registry import rule
from headgate.readers.python import literal

_SELINUX: Final = "https://docs.redhat.com/en/documentation/red_hat_enterprise_linux/9/html/using_selinux/"
_UNCONFINED: Final = ("unconfined_service_t", "unconfined_t", "initrc_t")
_OPEN_FOLDERS: Final = re.compile(r"^/(?:home|srv|var|opt|tmp|data)/")


@rule(
    "unconfined-domain",
    "SELinux does not confine the service",
    Severity.WARNING,
    why="the process runs in an unconfined domain: whoever breaks into the app may do all that its user may.",
    fix="A policy module with a domain of its own: `headgate deploy rhel` writes one.",
    source=_SELINUX,
    rank=70,
)
def unconfined(case: Case) -> Iterator[Finding]:
    for server in case.servers:
        context = case.host.domains.get(server.pid, "") if server.pid else ""
        domain = context.split(":")[2] if context.count(":") >= 2 else context
        if domain in _UNCONFINED:
            yield Finding("unconfined-domain", f"pid {server.pid} runs as {domain}", (server.place,))


@rule(
    "avc-denials",
    "SELinux has refused something to the service",
    Severity.ERROR,
    why="each refusal is a file, port or socket that the app could not use; what is not seen fails later.",
    fix="ausearch -m avc -ts recent | audit2why tells why; label the files (semanage fcontext), do not switch "
    "SELinux off.",
    source=_SELINUX,
    rank=40,
)
def denials(case: Case) -> Iterator[Finding]:
    if case.host.denials:
        message = f"{len(case.host.denials)} refusals in the audit log"
        yield Finding("avc-denials", message, tuple(case.host.denials[-3:]))


@rule(
    "fips-md5",
    "md5 on a FIPS machine",
    Severity.ERROR,
    why="in FIPS mode hashlib.md5() raises ValueError, at the first request that needs it.",
    fix="hashlib.md5(data, usedforsecurity=False) where it is only a checksum, else sha256.",
    source="https://docs.python.org/3/library/hashlib.html#hashlib.new",
)
def fips(case: Case) -> Iterator[Finding]:
    mode = case.host.values.get("fips")
    if mode is None or mode.text != "1":
        return
    for module, call in case.calls("hashlib.md5", "hashlib.new"):
        name = literal(call.node.args[0]) if call.name == "hashlib.new" and call.node.args else "md5"
        allowed = literal(call.keyword("usedforsecurity"))
        if name == "md5" and allowed is not False:
            yield Finding("fips-md5", "hashlib.md5 in FIPS mode", (module.place(call.node), mode.place))


@rule(
    "fapolicyd-venv",
    "fapolicyd refuses programs of an untrusted folder",
    Severity.ERROR,
    why="fapolicyd runs only what an RPM brought or its trust file names: a virtual environment elsewhere may "
    "not be executed "
    "(`Operation not permitted`).",
    fix="Ship the environment as an RPM, or fapolicyd-cli --file add /opt/app/ && fapolicyd-cli --update.",
    source="https://docs.redhat.com/en/documentation/red_hat_enterprise_linux/9/html/security_hardening/"
    "assembly_blocking-and-allowing-applications-using-fapolicyd_security-hardening",
)
def fapolicyd(case: Case) -> Iterator[Finding]:
    running = case.host.values.get("fapolicyd")
    if running is None:
        return
    for server in case.servers:
        program = server.place.text.split("=", 1)[-1].split()[0] if server.place.text else ""
        if _OPEN_FOLDERS.match(program) and "venv" in program:
            yield Finding("fapolicyd-venv", f"{program} is started while fapolicyd runs", (server.place, running.place))


@rule(
    "redis-on-el10",
    "RHEL 10 has no redis package",
    Severity.ERROR,
    why="RHEL 10 replaced Redis by Valkey: dnf install redis, and units that want redis.service, fail.",
    fix="dnf install valkey, and valkey.service; it speaks the same protocol.",
    source="https://docs.redhat.com/en/documentation/red_hat_enterprise_linux/10/html/considerations_in_adopting_rhel_10/",
)
def redis_on_el10(case: Case) -> Iterator[Finding]:
    if not re.match(r"(?:rhel|rocky|almalinux|centos|ol) 1\d", case.host.release):
        return
    place = case.host.values["os"].place
    for value in case.spec:
        if value.text == "redis":
            yield Finding("redis-on-el10", "the package redis is installed by name", (value.place, place))
    for unit in case.units:
        for key in ("Requires", "Wants", "After", "BindsTo"):
            for value in unit.all("Unit", key):
                if "redis.service" in value.text.split():
                    yield Finding("redis-on-el10", f"{key}=redis.service", (value.place, place))
