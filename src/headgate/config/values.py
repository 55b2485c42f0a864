"""Turns what a file, a variable or a flag says into a setting's value, and says what is wrong with it."""

from __future__ import annotations

import re
from typing import Any, Final, get_args, get_origin

import msgspec

from headgate.base.errors import ConfigError
from headgate.config.settings import Declared, Unit

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_BYTES: Final = {
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
    "k": 1024,
    "m": 1024**2,
    "g": 1024**3,
}
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off", ""})
_AMOUNT: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*")


def value(declared: Declared, raw: Any, *, text: bool, said: str) -> Any:
    """The value of a setting.

    Args:
        declared: the setting.
        raw: what was given.
        text: whether it came as text (a variable, a flag) rather than typed (TOML).
        said: where it was given, for the message.

    Raises:
        ConfigError: it does not fit the setting's type or bounds.
    """
    read = _from_text(declared, raw, said) if text and isinstance(raw, str) else raw
    if isinstance(read, str) and declared.option.unit is not None:
        read = _amount(declared, read, said)
    if isinstance(read, str) and get_origin(declared.type) is tuple:
        read = [read]
    try:
        converted = msgspec.convert(read, declared.type)
    except msgspec.ValidationError:
        raise wrong(declared, raw, said) from None
    least = declared.option.least
    if least is not None and converted < least:
        raise ConfigError(f"{said}: {declared.key} is {raw!r}; it must be at least {least:g}.")
    most = declared.option.most
    if most is not None and converted > most:
        raise ConfigError(f"{said}: {declared.key} is {raw!r}; it may be at most {most:g}.")
    return converted


def wrong(declared: Declared, raw: Any, said: str) -> ConfigError:
    """The error for a value of the wrong kind."""
    return ConfigError(f"{said}: {declared.key} is {raw!r}, which is not {expected(declared)}. {declared.option.help}.")


def expected(declared: Declared) -> str:
    """What a setting takes, in words."""
    kind = declared.type
    unit = declared.option.unit
    if unit is Unit.SECONDS:
        return 'a time: a number of seconds, or text such as "500ms", "30s", "5m", "1h"'
    if unit is Unit.BYTES:
        return 'a size: a number of bytes, or text such as "64KiB", "16MiB", "1GiB"'
    if unit is Unit.MILLISECONDS:
        return "a number of milliseconds"
    if get_origin(kind) is tuple:
        return "a list of " + _one_of(get_args(kind)[0], "texts")
    if get_origin(kind) is dict:
        return "a table of handler = " + _one_of(get_args(kind)[1], "text")
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}.get(kind) or _one_of(
        kind, ""
    )


def _one_of(kind: Any, otherwise: str) -> str:
    choices = get_args(kind)
    return " | ".join(choices) if choices else otherwise


def _from_text(declared: Declared, raw: str, said: str) -> Any:
    """Read text by the setting's type: lists by commas, tables as `handler=lane` pairs."""
    kind = declared.type
    if get_origin(kind) is tuple:
        return [part.strip() for part in raw.split(",") if part.strip()]
    if get_origin(kind) is dict:
        pairs = [part.rpartition("=") for part in raw.split(",") if part.strip()]
        return {key.strip(): lane.strip() for key, _, lane in pairs}
    if kind is bool:
        if raw.strip().lower() not in _TRUE | _FALSE:
            raise wrong(declared, raw, said)
        return raw.strip().lower() in _TRUE
    if kind in (int, float) and declared.option.unit is not Unit.SECONDS and declared.option.unit is not Unit.BYTES:
        try:
            return kind(raw)
        except ValueError:
            raise wrong(declared, raw, said) from None
    return raw


def _amount(declared: Declared, raw: str, said: str) -> float | int:
    """A time or size written as text."""
    match = _AMOUNT.fullmatch(raw)
    sizes = declared.option.unit is Unit.BYTES
    scale = (_BYTES if sizes else _SECONDS).get((match[2] if match else "?").lower() or ("b" if sizes else "s"))
    if match is None or scale is None or declared.option.unit is Unit.MILLISECONDS:
        raise wrong(declared, raw, said)
    amount = float(match[1]) * scale
    return int(amount) if sizes else amount
