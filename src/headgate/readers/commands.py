"""Command lines that start servers and workers: of units, Procfiles, containers, supervisord, scripts and processes."""

from __future__ import annotations

import ast
import operator
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from headgate.readers.place import Place
from headgate.readers.units import Unit
from headgate.readers.value import Value

_FLAGS: Final[dict[str, dict[str, str]]] = {
    "gunicorn": {
        "-w": "workers", "-k": "worker_class", "--worker-class": "worker_class", "-t": "timeout", "-b": "bind",
        "-c": "config", "--preload": "preload_app",
    },
    "uvicorn": {"--workers": "workers"},
    "celery": {"-c": "concurrency", "-P": "pool", "-A": "app", "--app": "app", "-l": "loglevel", "-Q": "queues"},
    "rq": {},
    "flask": {},
    "headgate": {},
}  # fmt: skip
_SWITCHES: Final = frozenset(
    {"preload_app", "reload", "no_reload", "debug", "proxy_headers", "with_scheduler", "burst"}
)
_PROGRAM: Final = re.compile(r"(?:^|/)(gunicorn|uvicorn|celery|rq|flask|headgate)$")
_ARITHMETIC: Final[dict[type[ast.operator], Callable[[int, int], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Div: operator.truediv,
}
_CONFIG: Final = "gunicorn.conf.py"


@dataclass
class Server:
    """Something that serves or works, as its command line and configuration say.

    `kind` is gunicorn, uvicorn, celery, rq, flask or headgate.
    """

    kind: str
    place: Place
    options: dict[str, Value] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    """The arguments that are no flags: the app, a sub-command."""
    unit: Unit | None = None
    pid: int = 0

    def get(self, name: str) -> Value | None:
        return self.options.get(name)

    def number(self, name: str, default: int) -> int:
        found = self.options.get(name)
        return default if found is None or found.number is None else found.number

    def where(self, name: str) -> Place:
        """Where an option was set; the command itself for a default."""
        found = self.options.get(name)
        return self.place if found is None else found.place

    @property
    def worker_class(self) -> str:
        """gunicorn's worker class, as it will be: more threads than one make `gthread` of `sync`."""
        found = self.options.get("worker_class")
        text = "sync" if found is None else found.text.lower()
        for known in ("eventlet", "gevent", "gthread", "tornado", "uvicorn", "asgi"):
            if known in text:
                return known
        return "gthread" if self.number("threads", 1) > 1 else text

    @property
    def serves(self) -> bool:
        """Whether it answers HTTP."""
        return self.kind in ("gunicorn", "uvicorn", "flask")


def server_of(line: str, place: Place, folder: Path, environment: Mapping[str, Value] = {}) -> Server | None:
    """The server that a command line starts; None when it starts none that is known.

    Args:
        line: the command, as a shell would read it.
        place: where it stands.
        folder: the working folder, where gunicorn looks for its configuration.
        environment: variables that are set for it.
    """
    try:
        words = shlex.split(line.lstrip("-@:+!"), comments=True)
    except ValueError:
        return None
    for index, word in enumerate(words):
        program = _PROGRAM.search(word)
        module = words[index - 1] == "-m" if index else False
        if program and (index == 0 or module or not words[index - 1].startswith("-")):
            server = Server(program.group(1), place)
            if _is_server(server.kind, words[index + 1 :]):
                _fill(server, words[index + 1 :], folder, environment)
                return server
    return None


def _is_server(kind: str, rest: list[str]) -> bool:
    needed = {"celery": "worker", "rq": "worker", "flask": "run", "headgate": "run"}.get(kind)
    return needed is None or any(word in (needed, f"{needed}-pool") for word in rest)


def _fill(server: Server, rest: list[str], folder: Path, environment: Mapping[str, Value]) -> None:
    given, server.words = _options(server.kind, rest, server.place)
    if server.kind == "gunicorn":
        config = given.get("config")
        name = _CONFIG if config is None else config.text.removeprefix("file:")
        server.options |= config_of(folder / name, name)
        if "WEB_CONCURRENCY" in environment and "workers" not in server.options:
            server.options["workers"] = environment["WEB_CONCURRENCY"]
        extra = environment.get("GUNICORN_CMD_ARGS")
        if extra is not None:
            server.options |= _options("gunicorn", shlex.split(extra.text), extra.place)[0]
    server.options |= given


def _options(kind: str, words: list[str], place: Place) -> tuple[dict[str, Value], tuple[str, ...]]:
    """Options by their long names, and the other words."""
    known = _FLAGS[kind]
    found: dict[str, Value] = {}
    plain: list[str] = []
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if not word.startswith("-"):
            plain.append(word)
            continue
        flag, equals, text = word.partition("=")
        if not equals and not flag.startswith("--") and len(flag) > 2:
            flag, text, equals = flag[:2], flag[2:], "="
        name = known.get(flag, flag.lstrip("-").replace("-", "_"))
        if not equals and name not in _SWITCHES and index < len(words) and not words[index].startswith("-"):
            text = words[index]
            index += 1
        found[name] = Value(text, place)
    return found, tuple(plain)


def config_of(path: Path, shown: str) -> dict[str, Value]:
    """The settings of a gunicorn configuration file, as far as they are constants or count processors."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError):
        return {}
    lines = text.splitlines()
    found: dict[str, Value] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            value = _constant(statement.value)
            if value is not None:
                place = Place(shown, statement.lineno, lines[statement.lineno - 1].strip())
                found[statement.targets[0].id] = Value(str(value), place)
    return found


def _constant(node: ast.expr) -> object:
    """A constant, or arithmetic with `cpu_count()`, which is what these files compute."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return _number(node)


def _number(node: ast.expr) -> int | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("cpu_count"):
        return os.cpu_count() or 1
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        left, right = _number(node.left), _number(node.right)
        if left is not None and right is not None and right != 0:
            return int(_ARITHMETIC[type(node.op)](left, right))
    return None


def in_unit(unit: Unit) -> Iterator[Server]:
    """The servers that a systemd unit or a supervisord program starts."""
    environment = unit.environment()
    folder = unit.get("Service", "WorkingDirectory")
    lines = [("Service", value) for value in unit.all("Service", "ExecStart")]
    lines += [(section, value) for section in unit.sections() for value in unit.all(section, "command")]
    for section, value in lines:
        directory = folder or unit.get(section, "directory")
        near = unit.path.parent
        place = Path(directory.text) if directory is not None and Path(directory.text).is_dir() else near
        server = server_of(value.text, value.place, place, environment)
        if server is not None:
            server.unit = unit
            copies = unit.get(section, "numprocs")
            if copies is not None:
                server.options["numprocs"] = copies
            yield server


_DOCKER: Final = re.compile(r"^\s*(?:CMD|ENTRYPOINT)\s+(.*)$")
_COMPOSE: Final = re.compile(r"^\s*command:\s*(.+)$")
_PROCFILE: Final = re.compile(r"^[\w-]+:\s+(.+)$")


def in_text(path: Path, shown: str) -> Iterator[Server]:
    """The servers that a Procfile, Dockerfile, compose file or shell script starts."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    pattern = _pattern(path)
    whole, began = "", 0
    for number, raw in enumerate(lines, 1):
        began = began or number
        if raw.rstrip().endswith("\\"):
            whole += raw.rstrip()[:-1] + " "
            continue
        line, at = whole + raw, began
        whole, began = "", 0
        match = pattern.match(line) if pattern is not None else None
        text = match.group(1) if match else line if pattern is None else ""
        if text.startswith("["):
            text = " ".join(shlex.quote(word) for word in _listed(text))
        text = text.strip().removeprefix("exec ").strip()
        server = server_of(text, Place(shown, at, raw.strip()), path.parent) if text else None
        if server is not None:
            yield server


def _pattern(path: Path) -> re.Pattern[str] | None:
    name = path.name.lower()
    if "dockerfile" in name or "containerfile" in name:
        return _DOCKER
    if path.suffix in (".yml", ".yaml"):
        return _COMPOSE
    return _PROCFILE if name == "procfile" else None


def _listed(text: str) -> list[str]:
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return []
    return [str(word) for word in found] if isinstance(found, list) else []
