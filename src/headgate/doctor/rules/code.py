"""Rules on the app's own source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from headgate.doctor.case import Case
from headgate.doctor.model import Finding, Severity
from headgate.doctor.rules.registry import rule
from headgate.readers.python import literal

_BLOCKING: Final = (
    "time.sleep",
    "requests.get",
    "requests.post",
    "requests.put",
    "requests.delete",
    "requests.request",
    "requests.Session().get",
    "requests.Session().post",
    "urllib.request.urlopen",
    "subprocess.run",
    "subprocess.check_output",
    "subprocess.check_call",
    "subprocess.call",
    "os.system",
    "psycopg.connect",
    "psycopg2.connect",
    "pymysql.connect",
    "MySQLdb.connect",
    "sqlite3.connect",
    "socket.create_connection",
    "socket.getaddrinfo",
    "redis.Redis().get",
    "redis.Redis().set",
    "redis.Redis().blpop",
)


@rule(
    "blocking-in-async",
    "A blocking call in a coroutine",
    Severity.ERROR,
    why="while it waits, the event loop runs nothing else: every connection of the process stands still.",
    fix="await asyncio.to_thread(...), an async library, or a plain `def` handler, which gets a thread; long "
    "work is a job.",
    source="https://docs.python.org/3/library/asyncio-dev.html#running-blocking-code",
    rank=7,
)
def blocking_in_async(case: Case) -> Iterator[Finding]:
    for module, call in case.calls(*_BLOCKING):
        if call.in_async and not call.awaited:
            message = f"{call.name.replace('()', '')}() in async {call.functions[-1].name}()"
            yield Finding("blocking-in-async", message, (module.place(call.node),))


@rule(
    "debug-on",
    "Debug mode is on",
    Severity.ERROR,
    why="the debugger runs any code that a visitor types, and the reloader runs everything twice.",
    fix="Leave debug out of the source: `flask --debug run` on your own machine, nothing on a server.",
    source="https://flask.palletsprojects.com/en/stable/debugging/",
    rank=45,
)
def debug_on(case: Case) -> Iterator[Finding]:
    for module in case.modules:
        for call in module.calls:
            runs = call.name in ("flask.Flask().run", "flask_socketio.SocketIO().run")
            if runs and call.at_import and literal(call.keyword("debug")) is True:
                yield Finding("debug-on", "run(debug=True)", (module.place(call.node),))
    for unit in case.units:
        for name in ("FLASK_DEBUG", "FLASK_ENV"):
            value = unit.environment().get(name)
            if value is not None and value.text.lower() in ("1", "true", "development"):
                yield Finding("debug-on", f"{name}={value.text} in {unit.path.name}", (value.place,))
    for server in case.servers:
        found = server.get("debug")
        if server.kind == "flask" and found is not None:
            yield Finding("debug-on", "flask run --debug", (server.place,))
