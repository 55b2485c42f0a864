"""Gathers the settings: flags before HEADGATE_* variables before headgate.toml before pyproject.toml."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from headgate.base.errors import ConfigError
from headgate.config.settings import DECLARED, Settings
from headgate.config.values import value

FILE: Final = "headgate.toml"
PREFIX: Final = "HEADGATE_"
ELSEWHERE: Final = "HEADGATE_CONFIG"
"""Variable: the path of another file in the place of headgate.toml."""
WATCHED: Final = tuple(
    f"HEADGATE_WATCHED_{name}" for name in ("FOLDER", "THRESHOLD", "HANDLER_THRESHOLD", "OBSERVER", "QUIET")
)
"""What `headgate watch run` tells the processes below it, of which Headgate may be one."""
OTHER_VARIABLES: Final = frozenset({"HEADGATE_CHILD", "HEADGATE_PROCESSES", ELSEWHERE, *WATCHED})
"""Variables with our prefix that are no settings."""


@dataclass(frozen=True)
class Loaded:
    """The settings, and where each one that is not a default came from."""

    settings: Settings
    origins: Mapping[str, str]
    """Setting's key → `flag --bind`, `environment HEADGATE_BIND`, `headgate.toml`, `pyproject.toml`."""


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    folder: str | Path = ".",
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """Gather the settings.

    Args:
        flags: settings given on the command line, by key; None values count as not given.
        folder: where headgate.toml and pyproject.toml are looked for.
        environ: the environment variables, the process's own by default.

    Raises:
        ConfigError: an unknown key (the message names the nearest one) or a value that does not fit.
    """
    folder = Path(folder)
    variables = os.environ if environ is None else environ
    file = _file(folder, variables)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    sources = [
        ("pyproject.toml", "pyproject.toml [tool.headgate]", _pyproject(folder), False),
        (FILE, str(file) if ELSEWHERE in variables else FILE, _toml(file), False),
        ("environment", "environment", _environment(variables), True),
        ("flag", "flag", {key: given for key, given in (flags or {}).items() if given is not None}, True),
    ]
    for source, place, given, text in sources:
        for name, raw in given.items():
            declared = DECLARED.get(name)
            if declared is None:
                raise _a_table(name) if isinstance(raw, dict) and source == FILE else _unknown(name, place)
            origin = {"environment": f"environment {declared.variable}", "flag": f"flag {declared.option.flag}"}
            said = origin.get(source, place)
            values[name] = value(declared, raw, text=text, said=said)
            origins[name] = said
    return Loaded(Settings(**values), origins)


def as_environment(settings: Settings) -> dict[str, str]:
    """The variables by which another process gets the same settings, whatever its files say: reading them backwards."""
    return {declared.variable: _as_text(getattr(settings, key)) for key, declared in DECLARED.items()}


def _as_text(held: Any) -> str:
    if isinstance(held, dict):
        return ",".join(f"{key}={one}" for key, one in held.items())
    if isinstance(held, tuple | list):
        return ",".join(map(str, held))
    return str(held).lower() if isinstance(held, bool) else str(held)


def _file(folder: Path, environ: Mapping[str, str]) -> Path:
    """headgate.toml, or what HEADGATE_CONFIG names in its place; that has to be there."""
    named = environ.get(ELSEWHERE)
    if not named:
        return folder / FILE
    if not Path(named).is_file():
        raise ConfigError(f"{ELSEWHERE} names {named}, and there is no such file.")
    return Path(named)


def _pyproject(folder: Path) -> dict[str, Any]:
    table = _toml(folder / "pyproject.toml").get("tool", {}).get("headgate", {})
    return table if isinstance(table, dict) else {}


def _toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} cannot be read: {exc}.") from None


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The settings among the variables; one with our prefix that is none is a mistake worth telling."""
    return {
        name.removeprefix(PREFIX).lower(): text
        for name, text in environ.items()
        if name.startswith(PREFIX) and name not in OTHER_VARIABLES
    }


def _a_table(name: str) -> ConfigError:
    """As one would write it in pyproject.toml."""
    return ConfigError(
        f"{FILE}: the settings stand at the top of this file, not in a table: leave out the line [{name}]. "
        "(In pyproject.toml they stand under [tool.headgate].)"
    )


def _unknown(name: str, place: str) -> ConfigError:
    near = difflib.get_close_matches(name.replace("-", "_"), DECLARED, n=1, cutoff=0.5)
    shown = f"{PREFIX}{name.upper()}" if place == "environment" else name
    wanted = f"{PREFIX}{near[0].upper()}" if near and place == "environment" else "".join(near)
    hint = f'Did you mean "{wanted}"?' if near else "`headgate config` lists all settings."
    return ConfigError(f'{place}: there is no setting "{shown}". {hint}')
