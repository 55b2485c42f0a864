"""Accounts for the settings: each value and where it came from, and the reference page of all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, get_args, get_origin

from headgate.config.load import Loaded
from headgate.config.settings import DECLARED, Declared, Topic, Unit

HIDDEN: Final = "(hidden)"


@dataclass(frozen=True)
class Line:
    """One setting as it is in force."""

    topic: Topic
    key: str
    value: str
    origin: str
    """`default`, or as in `Loaded.origins`."""
    help: str


def explain(loaded: Loaded) -> Iterator[Line]:
    """Every setting in force, in the order of declaration; secrets are hidden."""
    for declared in DECLARED.values():
        current = getattr(loaded.settings, declared.key)
        hidden = declared.option.secret and bool(current)
        yield Line(
            topic=declared.option.topic,
            key=declared.key,
            value=HIDDEN if hidden else masked(written(current, declared.option.unit)),
            origin=loaded.origins.get(declared.key, "default"),
            help=declared.option.help,
        )


def masked(text: str) -> str:
    """The text without the password of a URL in it."""
    return re.sub(r"://([^:@/\s]*):[^@/\s]*@", r"://\1:***@", text)


def written(value: Any, unit: Unit | None = None) -> str:
    """A value as one would write it in TOML, times and sizes with their unit."""
    if isinstance(value, bool):
        return str(value).lower()
    if unit is Unit.BYTES:
        return _size(value)
    if isinstance(value, float):
        return f"{value:g} {_SHORT[unit]}" if unit else f"{value:g}"
    if isinstance(value, tuple):
        return "[" + ", ".join(written(each) for each in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = "{each}"' for key, each in value.items()) + "}"
    return f'"{value}"' if isinstance(value, str) else str(value)


_SHORT: Final = {Unit.SECONDS: "s", Unit.MILLISECONDS: "ms", Unit.BYTES: "bytes"}


def _size(count: int) -> str:
    for scale, name in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if count >= scale and count % scale == 0:
            return f"{count // scale} {name}"
    return f"{count} bytes"


def reference() -> str:
    """The reference page of all settings, in Markdown (docs/reference/settings.md)."""
    parts = [_INTRODUCTION]
    for topic in Topic:
        parts.append(f"\n## {topic.value}\n")
        parts += [_entry(declared) for declared in DECLARED.values() if declared.option.topic is topic]
    return "\n".join(parts)


_INTRODUCTION: Final = """\
# Settings

<!-- Written by `headgate config --reference` from src/headgate/config/settings.py: change it there. -->

A setting is given, in the order in which the first one wins, by a flag of `headgate run`, an environment
variable, `headgate.toml`, the table `[tool.headgate]` of `pyproject.toml`, or its default. Both files are
looked for in the folder where `headgate run` works (see `--chdir`). A key that does not exist is an error.
`headgate config` shows each setting in force and where it came from.

Times are seconds, or text such as `"500ms"`, `"30s"`, `"5m"`, `"1h"`. Sizes are bytes, or text such as
`"64KiB"`, `"16MiB"`. Lists are separated by commas in environment variables and flags; the table `lane` is
written there as `GET /report=slow,POST /click=fast`."""


def _entry(declared: Declared) -> str:
    option = declared.option
    default = option.shown_default or written(declared.default, option.unit)
    shown = default if option.shown_default else f"`{default}`"
    flag = f" · flag `{option.flag}`" if option.flag else ""
    bound = f" · at least {option.least:g}" if option.least else ""
    bound += f" · at most {written(option.most, option.unit)}" if option.most else ""
    facts = f"{_kind(declared)} · default {shown}{bound} · `{declared.variable}`{flag}"
    return f"### `{declared.key}`\n\n{option.help}.\n\n{facts}\n"


def _kind(declared: Declared) -> str:
    kind, unit = declared.type, declared.option.unit
    if unit is not None:
        return {Unit.SECONDS: "time", Unit.BYTES: "size", Unit.MILLISECONDS: "milliseconds"}[unit]
    if get_origin(kind) is tuple:
        return "list of " + (" \\| ".join(get_args(get_args(kind)[0])) or "text")
    if get_origin(kind) is dict:
        return "table: handler → " + " \\| ".join(get_args(get_args(kind)[1]))
    return {int: "whole number", bool: "true or false", str: "text"}.get(kind) or " \\| ".join(get_args(kind))
