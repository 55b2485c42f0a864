"""systemd units (systemd.syntax(7)), with their drop-ins, and other INI files with the line of each value."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from headgate.readers.place import Place
from headgate.readers.value import Value


@dataclass
class Unit:
    """An INI file: a systemd unit, or supervisord's configuration."""

    path: Path
    shown: str
    values: dict[tuple[str, str], list[Value]] = field(default_factory=dict)
    """(section, key) → values, in order; systemd's empty value clears those before."""

    def get(self, section: str, key: str) -> Value | None:
        """The last one."""
        found = self.values.get((section, key))
        return found[-1] if found else None

    def all(self, section: str, key: str) -> list[Value]:
        return self.values.get((section, key), [])

    def sections(self) -> Iterator[str]:
        return iter(dict.fromkeys(section for section, _ in self.values))

    def environment(self) -> dict[str, Value]:
        """Variables that `Environment=` sets."""
        found: dict[str, Value] = {}
        for value in self.all("Service", "Environment"):
            for word in _words(value.text):
                name, equals, text = word.partition("=")
                if equals:
                    found[name] = Value(text, value.place)
        return found

    @property
    def is_service(self) -> bool:
        return self.path.name.endswith(".service") or ("Service", "ExecStart") in self.values

    @property
    def first(self) -> Place:
        return Place(self.shown, 1, self.path.name)


def read(path: Path, shown: str) -> Unit | None:
    """Read a file; None when it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    unit = Unit(path, shown)
    for drop_in in [None, *sorted(Path(f"{path}.d").glob("*.conf"))]:
        if drop_in is None:
            _parse(text, unit, shown)
        else:
            _parse(drop_in.read_text(encoding="utf-8", errors="replace"), unit, f"{shown}.d/{drop_in.name}")
    return unit


def _parse(text: str, unit: Unit, shown: str) -> None:
    section, pending, began = "", "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not pending and (not line or line[0] in "#;"):
            continue
        if line.endswith("\\"):
            began = began or number
            pending += line[:-1].rstrip() + " "
            continue
        whole, at = pending + line, began or number
        pending, began = "", 0
        if whole.startswith("["):
            section = whole.strip("[]")
            continue
        key, equals, value = whole.partition("=")
        if not equals:
            continue
        entry = unit.values.setdefault((section, key.strip()), [])
        if value.strip():
            entry.append(Value(value.strip(), Place(shown, at, whole)))
        else:
            entry.clear()


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()
