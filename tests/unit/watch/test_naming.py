"""Which frame is shown, what the call is named, and what is said and advised."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from headgate.watch import advice, calls, clues, model, stacks, wording
from headgate.watch.clues import Clues, without_secrets
from headgate.watch.model import Incident, Sample, Stall
from headgate.watch.naming import Origin, name
from headgate.watch.stacks import Frame

MS = 1_000_000
SITE = "/srv/venv/lib/python3.11/site-packages"
STACK = (
    Frame("/usr/lib/python3.11/selectors.py", 415, "PollSelector.select"),
    Frame(f"{SITE}/psycopg/cursor.py", 97, "Cursor.execute"),
    Frame("/srv/orders.py", 41, "pay"),
    Frame(f"{SITE}/flask/app.py", 919, "Flask.wsgi_app"),
    Frame(f"{SITE}/eventlet/greenthread.py", 272, "GreenThread.main"),
)


def named(stack: stacks.Stack = STACK, kind: str = "eventlet", seen: Clues | None = None) -> Incident:
    """The incident of a stall of 1.52 s with this stack."""
    sample = Sample(700 * MS, stack, sleeping="poll", root=1)
    stall = Stall(0, 1520 * MS, kind, kind, limit=100 * MS, samples=[sample])
    found = name(stall, seen or Clues(handler="ws /ws"), Origin(7, "web"), 1_700_000_000.0)
    assert found is not None
    return found


def test_the_users_frame_is_shown_and_the_library_is_what_it_called() -> None:
    incident = named()
    assert (incident.file, incident.number, incident.function) == ("/srv/orders.py", 41, "pay")
    assert incident.call == "psycopg.Cursor.execute"
    assert incident.stacks[0] == (1.52, [model.label(frame) for frame in reversed(STACK)])


def test_the_line_says_what_where_for_whom_and_what_to_do() -> None:
    incident = named()
    incident.sockets, incident.waited = 212, 1.4
    assert wording.line(incident) == (
        "`psycopg.Cursor.execute` blocked the eventlet hub for 1.52 s at srv/orders.py:41 in handler ws /ws; "
        "212 sockets waited up to 1.40 s; this driver waits in C: run it in a job"
    )
    assert wording.line(incident, 3).endswith("; 3 more like it since the last line")


@pytest.mark.parametrize(
    ("file", "owner", "module"),
    [
        ("/srv/orders.py", "user", "orders"),
        (f"{SITE}/psycopg/cursor.py", "library", "psycopg"),
        ("/usr/lib/python3/dist-packages/requests/api.py", "library", "requests"),
        ("/usr/lib64/python3.11/urllib/request.py", "stdlib", "urllib.request"),
        ("/usr/lib/python3.11/json/__init__.py", "stdlib", "json"),
        ("<frozen importlib._bootstrap>", "python", "importlib._bootstrap"),
        (stacks.__file__, "headgate", "headgate.watch"),
        ("/tmp/carried/headgate/watch/line.py", "headgate", "line"),
    ],
)
def test_whose_code_a_file_is(file: str, owner: str, module: str) -> None:
    assert stacks.owner(file) == owner
    assert stacks.module(file) == module


def test_the_call_is_named_by_its_instruction_also_in_a_line_of_three() -> None:
    seen = []

    def look(_: object) -> int:
        frame = sys._getframe(1)
        seen.append((frame.f_code, frame.f_lasti))
        return 0

    assert [abs(look(7)), len(str(1))] == [0, 1]
    assert calls.spelled(calls.expression(*seen[0])) == "look"


@pytest.mark.parametrize(
    ("line", "spelled"),
    [
        ("    rows = sorted(data, key=len)\n", "sorted"),
        ("    return 3**exponent\n", "3**exponent"),
        ("    if pattern.match(text):\n", "pattern.match"),
        ("    for row in cursor.fetchall():\n", "cursor.fetchall"),
        ("    connection.execute(\n", "connection.execute"),
    ],
)
def test_the_call_is_named_by_its_line(tmp_path: Path, line: str, spelled: str) -> None:
    file = tmp_path / "code.py"
    file.write_text(line)
    assert calls.spelled(calls.on_line(Frame(str(file), 1, "f"))) == spelled


def test_clues_find_statement_address_and_request_and_hide_secrets() -> None:
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/pay", "HTTP_X_REQUEST_ID": "r-17"}

    def application(environ: dict[str, str]) -> clues.Clues:
        statement = "SELECT *\n  FROM orders"
        assert statement
        return look(statement)

    def look(query: str) -> clues.Clues:
        return clues.find(sys._getframe(1))

    found = application(environ)
    assert (found.handler, found.request_id) == ("POST /pay", "r-17")
    assert found.statement == "SELECT * FROM orders"
    assert without_secrets("https://me:pw@shop.test/a?token=x") == "https://shop.test/a?…"


@pytest.mark.parametrize(
    ("kind", "cause", "call", "words"),
    [
        ("asyncio", model.BLOCKING, "time.sleep", "await asyncio.sleep"),
        ("gevent", model.BLOCKING, "time.sleep", "`gevent.sleep`"),
        ("asyncio", model.BLOCKING, "requests.get", "httpx.AsyncClient"),
        ("eventlet", model.BLOCKING, "psycopg.Cursor.execute", "waits in C: run it in a job"),
        ("asyncio", model.BLOCKING, "socket.getaddrinfo", "DNS"),
        ("asyncio", model.BLOCKING, "subprocess.run", "create_subprocess_exec"),
        ("asyncio", model.LOCK, "_thread.lock.acquire", "asyncio's own lock"),
        ("asyncio", model.COMPUTING, "re.Pattern.match", "backtrack"),
        ("asyncio", model.COMPUTING, "sorted", "in a job"),
        ("uvloop", model.GC, "", "gc.freeze"),
        ("uvloop", model.STARVED, "", "no CPU left"),
        ("gevent", model.OVERLOAD, "time.sleep", "too much work in one turn"),
        ("gevent", model.GIL, "lib.hash", "another thread"),
        ("thread", model.BLOCKING, "psycopg.Cursor.execute", "timeout"),
    ],
)
def test_the_advice_fits(kind: str, cause: str, call: str, words: str) -> None:
    incident = named()
    incident.kind, incident.cause, incident.call = kind, cause, call
    assert words in advice.advice(incident)


def test_an_incident_survives_the_journal() -> None:
    incident = named()
    assert Incident.from_json(incident.to_json()) == incident
    with pytest.raises(ValueError, match="incident"):
        Incident.from_json('{"v": 2}')
