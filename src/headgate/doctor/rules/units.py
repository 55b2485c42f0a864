"""Rules on systemd units."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from headgate.doctor.case import Case
from headgate.doctor.model import Change, Finding, Severity
from headgate.doctor.rules.registry import rule
from headgate.readers.commands import Server

_SYSTEMD: Final = "https://www.freedesktop.org/software/systemd/man/latest"
_DEFAULT_STOP: Final = 90.0
_DEFAULT_NOFILE: Final = 1024
_SECRET: Final = re.compile(r"(?:SECRET|PASSWORD|PASSWD|TOKEN|API_?KEY|PRIVATE_KEY)", re.IGNORECASE)
_SECRET_URL: Final = re.compile(r"\w+://[^:/\s]+:[^@/\s]{3,}@")


def _patience(server: Server) -> tuple[float, str]:
    """How long a server finishes its work when it is told to end, and the setting that says so."""
    if server.kind == "headgate":
        found = server.get("stop_timeout")
        return (found.seconds or 30.0 if found is not None else 30.0), "stop_timeout"
    return float(server.number("graceful_timeout", 30)), "graceful_timeout"


@rule(
    "stop-timeout",
    "systemd kills before the server has finished",
    Severity.ERROR,
    why="TimeoutStopSec is over no later than the graceful timeout: running requests and jobs are killed at "
    "every deploy.",
    fix="TimeoutStopSec ten seconds above the graceful timeout.",
    source=f"{_SYSTEMD}/systemd.service.html#TimeoutStopSec=",
    rank=30,
)
def stop_timeout(case: Case) -> Iterator[Finding]:
    for server in case.servers:
        if server.unit is None or server.kind not in ("gunicorn", "headgate"):
            continue
        found = server.unit.get("Service", "TimeoutStopSec")
        limit = _DEFAULT_STOP if found is None else found.seconds
        patience, name = _patience(server)
        if limit is not None and limit <= patience:
            message = f"TimeoutStopSec {limit:g} s, and {name} is {patience:g} s"
            place = found.place if found is not None else server.place
            change = Change(place, place.text, f"TimeoutStopSec={patience + 10:g}") if found is not None else None
            yield Finding("stop-timeout", message, (place, server.where(name)), change=change)


@rule(
    "gunicorn-watchdog",
    "gunicorn does not answer systemd's watchdog",
    Severity.ERROR,
    why="gunicorn tells systemd READY=1 and nothing else: with WatchdogSec it is killed, with Type=notify-reload "
    "a reload "
    "never ends.",
    fix="Type=notify without WatchdogSec, and ExecReload=/bin/kill -s HUP $MAINPID. Headgate answers both.",
    source=f"{_SYSTEMD}/systemd.service.html#WatchdogSec=",
    rank=16,
)
def watchdog(case: Case) -> Iterator[Finding]:
    for server in case.web("gunicorn"):
        if server.unit is None:
            continue
        for key, bad in (("WatchdogSec", None), ("Type", "notify-reload")):
            found = server.unit.get("Service", key)
            if found is not None and ((bad is None and found.seconds) or found.text == bad):
                yield Finding("gunicorn-watchdog", f"{key}={found.text} with gunicorn", (found.place, server.place))


@rule(
    "limit-nofile",
    "Too few descriptors for the sockets",
    Severity.WARNING,
    why="a service gets 1,024 descriptors unless told: about so many sockets, then `Too many open files`.",
    fix="LimitNOFILE=65536 in the unit.",
    source=f"{_SYSTEMD}/systemd.exec.html#LimitCPU=",
    rank=28,
)
def nofile(case: Case) -> Iterator[Finding]:
    sockets = case.holds_sockets()
    for server in case.servers:
        holds = server.kind == "headgate" or (server.serves and sockets is not None)
        if not holds:
            continue
        if server.pid in case.host.descriptors and case.host.descriptors[server.pid] <= _DEFAULT_NOFILE:
            message = f"pid {server.pid} may open {case.host.descriptors[server.pid]} files"
            yield Finding("limit-nofile", message, (server.place,))
        elif server.unit is not None:
            found = server.unit.get("Service", "LimitNOFILE")
            limit = _DEFAULT_NOFILE if found is None else found.number
            if limit is not None and limit <= _DEFAULT_NOFILE:
                place = found.place if found is not None else server.place
                change = Change(place, found.place.text if found else "", "LimitNOFILE=65536")
                yield Finding("limit-nofile", f"LimitNOFILE is {limit}", (place,), change=change)


@rule(
    "mdwe-cffi",
    "MemoryDenyWriteExecute and cffi",
    Severity.ERROR,
    why="cffi's callbacks, and JIT compilers, need memory that is written and executed: gevent, cryptography's older "
    "versions and numba die with a memory error at start.",
    fix="Leave MemoryDenyWriteExecute out for this unit.",
    source=f"{_SYSTEMD}/systemd.exec.html#MemoryDenyWriteExecute=",
)
def mdwe(case: Case) -> Iterator[Finding]:
    needing = case.using("cffi", "gevent", "numba") or next(
        (case.packages[name].place for name in ("gevent", "numba", "cffi") if name in case.packages), None
    )
    for server in case.servers:
        found = server.unit.get("Service", "MemoryDenyWriteExecute") if server.unit is not None else None
        if found is not None and found.on and needing is not None:
            yield Finding("mdwe-cffi", f"MemoryDenyWriteExecute={found.text}", (found.place, needing))


@rule(
    "shared-slice",
    "Jobs and web share one slice",
    Severity.WARNING,
    why="without weights, a batch job takes as much CPU and disk as all requests together.",
    fix="Slice=jobs.slice with CPUWeight=20 and IOWeight=20 for the workers; `headgate deploy` writes both.",
    source=f"{_SYSTEMD}/systemd.resource-control.html#CPUWeight=weight",
)
def shared_slice(case: Case) -> Iterator[Finding]:
    web = [server for server in case.web() if server.unit is not None]
    workers = [server for server in case.servers if server.kind in ("celery", "rq") and server.unit is not None]
    for worker in workers:
        assert worker.unit is not None
        own = worker.unit.get("Service", "Slice")
        weight = worker.unit.get("Service", "CPUWeight") or worker.unit.get("Service", "Nice")
        same = [server for server in web if server.unit is not None and _slice(server) == _slice(worker)]
        if same and weight is None:
            places = (own.place if own is not None else worker.place, same[0].place)
            yield Finding("shared-slice", f"{worker.kind} and {same[0].kind} are weighed alike", places)


def _slice(server: Server) -> str:
    found = server.unit.get("Service", "Slice") if server.unit is not None else None
    return "system.slice" if found is None else found.text


@rule(
    "secret-in-unit",
    "A secret stands in a unit file",
    Severity.ERROR,
    why="unit files can be read by every user of the machine, and `systemctl show` prints them.",
    fix="LoadCredential=NAME:/etc/…, or EnvironmentFile= with mode 0600.",
    source=f"{_SYSTEMD}/systemd.exec.html#Environment=",
    rank=60,
)
def secret_in_unit(case: Case) -> Iterator[Finding]:
    for unit in case.units:
        for name, value in unit.environment().items():
            if (_SECRET.search(name) and value.text and "%d" not in value.text) or _SECRET_URL.search(value.text):
                place = value.place
                hidden = type(place)(place.path, place.line, f"Environment={name}=…")
                yield Finding("secret-in-unit", f"{name} is set in {unit.path.name}", (hidden,))
