"""What handlers share in a process's memory, wherever it is kept, and what only looks like it."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.doctor import gather
from headgate.doctor.examine import examine

SHARING = """
from collections import defaultdict
from flask import Flask
from flask_sock import Sock
from flask_socketio import SocketIO
from headgate import Headgate

app = Flask(__name__)
sock = Sock(app)
socketio = SocketIO(app)
gate = Headgate(app)
{container}

{handlers}
"""
VIEW = "@app.get('/')\ndef index():\n    return str(len(box))\n"


def shared(folder: Path, text: str, line: int = 0) -> list[str]:
    (folder / "app.py").write_text(text)
    found = [
        found for found in examine(gather.folders([folder]), base=folder).findings if found.rule == "shared-in-memory"
    ]
    assert all(each.places[0].text and line in (0, each.places[0].line) for each in found)
    return [each.message for each in found]


@pytest.mark.parametrize(
    ("container", "handlers", "message"),
    [
        ("box = {}", "@gate.socket('/a')\ndef desk(sock, message):\n    box['a'] = 1\n" + VIEW, "desk() and index()"),
        (
            "box: dict = defaultdict(set)",
            "@socketio.on('join')\ndef join(room):\n    box[room].add(1)\n" + VIEW,
            "join() and index()",
        ),
        (
            "box = []",
            "@sock.route('/a')\ndef chat(ws):\n    box.append(ws)\n    for each in box:\n        each.send('')\n",
            "all sockets of chat()",
        ),
        (
            "box = [0]",
            "@socketio.on('a')\ndef one():\n    box[0] += 1\n@socketio.on('b')\ndef two():\n    start(work)\n"
            "def work():\n    print(box)\n",
            "one() and two()",
        ),
        ("box = {}", "@sock.route('/a')\ndef desk(ws):\n    ws.send(box['a'])\n" + VIEW, ""),
        ("box = {}", "@sock.route('/a')\ndef desk(ws):\n    box = {}\n    box['a'] = 1\n" + VIEW, ""),
        ("box = {}", "@app.get('/b')\ndef b():\n    box['a'] = 1\n" + VIEW, ""),
        ("box = {}", "@sock.route('/a')\ndef desk(ws):\n    box['a'] = box.get('a') or ws\n", ""),
        ("box = 0", "@sock.route('/a')\ndef desk(ws):\n    box.add(ws)\n" + VIEW, ""),
    ],
)
def test_containers_that_handlers_share(container: str, handlers: str, message: str, tmp_path: Path) -> None:
    messages = shared(tmp_path, SHARING.format(container=container, handlers=handlers), 12)
    assert messages == ([f"box in app.py is shared by {message}"] if message else [])


FACTORY = """
from flask import Flask
from flask_sock import Sock
from flask_socketio import Namespace, SocketIO

{above}
def create_app():
    app = Flask(__name__)
    sock = Sock(app)
    socketio = SocketIO(app)
{inside}
    return app
"""
JOIN = "@socketio.on('join')\ndef join(name):\n    users[name] = 1\n"
WHO = "@app.get('/who')\ndef who():\n    return list(users)\n"


@pytest.mark.parametrize(
    ("above", "inside", "messages"),
    [
        ("", f"users = {{}}\n{JOIN}{WHO}", ["users in app.py is shared by join() and who()"]),
        (
            "",
            "users: set = set()\n@sock.route('/a')\ndef chat(ws):\n    users.add(ws)\n    tell()\n"
            "def tell():\n    for each in users:\n        each.send('')\n",
            ["users in app.py is shared by all sockets of chat()"],
        ),
        ("users = {}", f"{JOIN}{WHO}", ["users in app.py is shared by join() and who()"]),
        (
            "users = {}",
            f"users = {{}}\n{JOIN}{WHO}",
            ["users in app.py is shared by join() and who()"],  # the factory's own, once
        ),
        ("", "n = 0\n@app.get('/')\ndef hit():\n    nonlocal n\n    n += 1\n", ["n in app.py is counted by hit()"]),
        # Misses: read only; filled by the factory; a handler's own; an argument; of views alone; another function's
        ("", "users = {'tea': 3}\n@socketio.on('a')\ndef a(x):\n    users.get(x)\n" + WHO, []),
        ("", "users = {}\nusers.update(a=1)\n@socketio.on('a')\ndef a(x):\n    users.get(x)\n" + WHO, []),
        ("", "users = {}\n" + JOIN.replace("    users[", "    users = {}\n    users[") + WHO, []),
        ("", "users = {}\n" + JOIN.replace("(name)", "(name, users)") + WHO, []),
        ("", "users = {}\n@app.get('/a')\ndef a():\n    users['a'] = 1\n" + WHO, []),
        ("def other():\n    users = {}\n    return users\n", f"users = make()\n{JOIN}{WHO}", []),
    ],
)
def test_what_the_handlers_of_a_factory_share(above: str, inside: str, messages: list[str], tmp_path: Path) -> None:
    indented = "".join(f"    {line}\n" for line in inside.splitlines())
    assert shared(tmp_path, FACTORY.format(above=above, inside=indented)) == messages


@pytest.mark.parametrize(
    ("above", "body", "message"),
    [
        ("n = 0", "global n\nn += 1", "n in app.py is counted by hit()"),
        ("n: int = 0", "global n\nn = n + 1", "n in app.py is counted by hit()"),
        ("n = 10.0", "global n\nn -= 1", "n in app.py is counted by hit()"),
        ("n = 0", "count()", "n in app.py is counted by hit()"),
        ("n = 0", "n += 1", "n in app.py is counted by hit()"),  # it fails; that the module's is meant is seen
        ("n = 0", "n = 0\nn += 1", ""),
        ("n = 0", "for n in range(3):\n    n += 1", ""),
        ("n = 0", "global n\nn = 5", ""),
        ("n = 0", "return str(n + 1)", ""),
        ("n = 'a'", "global n\nn += 'b'", ""),
        ("n = True", "global n\nn += 1", ""),
        ("LIMIT = 3", "return str(LIMIT)", ""),
    ],
)
def test_counters(above: str, body: str, message: str, tmp_path: Path) -> None:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    count = "def count():\n    global n\n    n += 1\n" if "count()" in body else ""
    text = f"{above}\n\n@app.get('/')\ndef hit():\n{lines}\n{count}"
    messages = shared(tmp_path, SHARING.format(container="", handlers=text))
    assert messages == ([message] if message else [])


def test_a_counter_that_no_handler_reaches_is_no_matter(tmp_path: Path) -> None:
    text = "n = 0\ndef script():\n    global n\n    n += 1\n\n@app.get('/')\ndef hit():\n    return str(n)\n"
    assert shared(tmp_path, SHARING.format(container="", handlers=text)) == []


BASE = "from flask_socketio import Namespace\n"


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        (
            "users = {}\ndef on_join(self, name):\n    self.users[name] = 1\n"
            "def on_who(self):\n    return list(self.users)\n",
            ["Chat.users in app.py is shared by on_join() and on_who()"],
        ),
        (
            "def __init__(self):\n    self.users = set()\ndef on_join(self, name):\n    self._add(name)\n"
            "def on_leave(self, name):\n    self.users.discard(name)\n"
            "def _add(self, name):\n    self.users.add(name)\n",
            ["Chat.users in app.py is shared by on_join() and on_leave()"],
        ),
        (
            "users = set()\ndef on_join(self, name):\n    Chat.users.add(name)\n    for each in Chat.users:\n"
            "        self.emit('a', each)\n",
            ["Chat.users in app.py is shared by all sockets of on_join()"],
        ),
        ("n = 0\ndef on_connect(self):\n    self.n += 1\n", ["Chat.n in app.py is counted by on_connect()"]),
        (
            "def on_join(self, name):\n    rooms[name] = 1\ndef on_leave(self, name):\n    rooms.pop(name)\n",
            ["rooms in app.py is shared by on_join() and on_leave()"],
        ),
        # Misses: constants; a handler's own; another object's; a method that no event calls; something else's class
        ("users = {'a': 1}\ndef on_a(self):\n    self.users['a']\ndef on_b(self):\n    len(self.users)\n", []),
        ("LIMIT = 3\ndef on_a(self):\n    self.n = self.LIMIT + 1\n", []),
        ("users = {}\ndef on_a(self):\n    users = {}\n    users['a'] = 1\ndef on_b(self):\n    self.users\n", []),
        ("users = {}\ndef on_a(self, o):\n    o.users['a'] = 1\ndef on_b(self, o):\n    o.users\n", []),
        ("users = {}\ndef a(self):\n    self.users['a'] = 1\ndef b(self):\n    self.users\n", []),
    ],
)
def test_what_the_handlers_of_a_namespace_share(body: str, messages: list[str], tmp_path: Path) -> None:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    assert shared(tmp_path, f"{BASE}rooms = {{}}\nclass Chat(Namespace):\n{lines}") == messages
    assert shared(tmp_path, f"{BASE}rooms = {{}}\nclass Chat(Base):\n{lines}") == []
