"""Rules on eventlet and gevent."""

from __future__ import annotations

from collections.abc import Iterator

from headgate.doctor.case import Case
from headgate.doctor.model import Finding, Place, Severity
from headgate.doctor.rules.registry import rule
from headgate.readers.python import Call, Module

_PATCHES = ("eventlet.monkey_patch", "gevent.monkey.patch_all")
_HARMLESS = ("eventlet", "gevent", "__future__", "os", "sys", "typing", "warnings", "psycogreen")


def _driver(case: Case, name: str) -> Place | None:
    """Where a driver is used: imported, named in a database URL, or required."""
    place = case.using(name)
    if place is not None:
        return place
    urls = ("postgresql+psycopg:", "postgresql+psycopg_async:") if name == "psycopg" else ("postgresql+psycopg2:",)
    for module in case.modules:
        for number, line in enumerate(module.lines, 1):
            if any(url in line for url in urls):
                return Place(module.shown, number, line.strip())
    package = case.packages.get(name) or case.packages.get(f"{name}-binary")
    return None if package is None else package.place


@rule(
    "psycopg3-eventlet",
    "psycopg 3 under eventlet",
    Severity.ERROR,
    why="psycopg 3 waits inside C, where eventlet cannot switch: one query of 1.5 s stops the hub, and with it every "
    "socket and every click of the process, for 1.5 s.",
    fix="Run the app with `headgate run`, where a query blocks a thread and nobody else; long work becomes a job.",
    source="https://www.psycopg.org/psycopg3/docs/advanced/async.html",
    rank=1,
)
def psycopg3_eventlet(case: Case) -> Iterator[Finding]:
    green = case.greens().get("eventlet")
    driver = _driver(case, "psycopg")
    if green is not None and driver is not None:
        yield Finding("psycopg3-eventlet", "psycopg 3 is used in an eventlet process", (driver, green))


@rule(
    "psycopg2-unpatched",
    "psycopg2 in a green process without psycogreen",
    Severity.ERROR,
    why="psycopg2 waits inside libpq, where greenlets cannot switch: each query stops the whole process.",
    fix="Call psycogreen's patch_psycopg() before the first connection; or run the app with `headgate run`.",
    source="https://www.psycopg.org/docs/advanced.html#support-for-coroutine-libraries",
    rank=3,
)
def psycopg2_unpatched(case: Case) -> Iterator[Finding]:
    driver = _driver(case, "psycopg2")
    if driver is None or case.using("psycogreen") is not None:
        return
    for name, green in case.greens().items():
        yield Finding("psycopg2-unpatched", f"psycopg2 in a {name} process, and no psycogreen", (driver, green))


@rule(
    "import-before-patch",
    "Something is imported before monkey_patch",
    Severity.ERROR,
    why="a module that has taken `socket` or `threading` before the patch keeps the blocking one: its calls stop "
    "the hub, and locks made before deadlock.",
    fix="Make the patch the first statement of the first module; or drop it: under `headgate run` it is not needed.",
    source="https://eventlet.readthedocs.io/en/latest/patching.html",
    rank=15,
)
def import_before_patch(case: Case) -> Iterator[Finding]:
    for module, call in case.calls(*_PATCHES):
        early = _before(module, call) if call.at_import else None
        if early is not None:
            name, place = early
            message = f"{name} is imported before {call.name.rpartition('.')[2]}()"
            yield Finding("import-before-patch", message, (place, module.place(call.node)))


def _before(module: Module, call: Call) -> tuple[str, Place] | None:
    for name, statement, top in module.imports:
        harmless = name.split(".")[0] in _HARMLESS
        if top and not harmless and statement.lineno < call.node.lineno:
            return name, module.place(statement)
    return None
