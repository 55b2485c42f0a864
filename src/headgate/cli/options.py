"""The flags that are settings, made from the settings' declarations, and where the settings are read from."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, get_origin

import click

from headgate.base.errors import ConfigError
from headgate.config.load import Loaded, load
from headgate.config.settings import DECLARED, Declared

F = TypeVar("F", bound=Callable[..., Any])

WHERE: Final = ("data", "broker")
"""The settings that say which running Headgate a command is about."""


def setting_options(keys: tuple[str, ...] | None = None) -> Callable[[F], F]:
    """Give a command the flags of these settings (of all that have one, by default); their values stay text."""

    def give(command: F) -> F:
        for declared in reversed(DECLARED.values()):
            if declared.option.flag and (keys is None or declared.key in keys):
                command = _option(declared)(command)
        return command

    return give


def _option(declared: Declared) -> Callable[[F], F]:
    flag = str(declared.option.flag)
    text = f"{declared.option.help}."
    if declared.type is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", declared.key, default=None, help=text)
    several = get_origin(declared.type) is tuple
    return click.option(flag, declared.key, multiple=several, metavar=_metavar(declared), help=text)


def _metavar(declared: Declared) -> str:
    if declared.type in (int, float):
        return "TIME" if declared.option.unit else "N"
    return {"data": "FOLDER", "broker": "ENGINE", "bind": "ADDRESS"}.get(declared.key, "NAME")


def chdir_option(command: F) -> F:
    """Give a command `--chdir`: the folder of the app and of the configuration files."""
    return click.option(
        "--chdir", type=click.Path(exists=True, file_okay=False), help="Work in this folder instead of the current one."
    )(command)


def loaded(flags: Mapping[str, Any], chdir: str | None = None) -> Loaded:
    """The settings with these flags; changes into the folder first.

    Raises:
        ConfigError: as `headgate.config.load.load`; the folder cannot be entered.
    """
    if chdir:
        try:
            os.chdir(chdir)
        except OSError as exc:
            raise ConfigError(f"--chdir {chdir}: {exc.strerror}.") from None
    return load({key: _given(value) for key, value in flags.items()})


def _given(value: Any) -> Any:
    """A flag's value as the loader wants it: a flag that takes several may be given once with commas."""
    if isinstance(value, tuple):
        return ",".join(value) or None
    return value
