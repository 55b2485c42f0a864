"""The app's address, "module:attribute" or "module:factory()", taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headgate.base.errors import ConfigError

_DOTTED: Final = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_ADDRESS: Final = re.compile(rf"(?P<module>{_DOTTED}):(?P<attribute>{_DOTTED})(?P<call>\(\))?")
_EXAMPLE: Final = 'headgate run app:app, or headgate run "app:create_app()" for a factory'


@dataclass(frozen=True)
class AppAddress:
    """Where the app is: a module, a dotted attribute in it, and whether that is to be called."""

    module: str
    attribute: str
    factory: bool


def parse(text: str, folder: str | Path = ".") -> AppAddress:
    """Take an app's address apart, importing nothing.

    Args:
        text: as given to `headgate run`.
        folder: where the app lies, for naming what is there.

    Raises:
        ConfigError: it is no such address; the message says how to write it.
    """
    match = _ADDRESS.fullmatch(text)
    if match is not None:
        return AppAddress(match["module"], match["attribute"], bool(match["call"]))
    raise ConfigError(_advice(text, Path(folder)))


def _advice(text: str, folder: Path) -> str:
    if not text:
        found = [name for name in ("app", "wsgi", "main", "application", "asgi") if (folder / f"{name}.py").exists()]
        here = f" There is a {found[0]}.py here: try headgate run {found[0]}:app" if found else ""
        return f"No app was named. Write {_EXAMPLE}; or set app in headgate.toml.{here}"
    if text.endswith(".py") or "/" in text:
        module = text.removesuffix(".py").strip("./").replace("/", ".")
        return f'"{text}" is a file. Name the module and the app in it: headgate run {module}:app'
    if ":" not in text:
        return f'"{text}" names a module but not the app in it. Write {_EXAMPLE}: here headgate run {text}:app'
    if "(" in text:
        return f'"{text}" is not an app. A factory is called without arguments: {_EXAMPLE}.'
    return f'"{text}" is not an app. Write "module:attribute": {_EXAMPLE}.'
