"""The app's address as written: what can be said of it before anything is imported."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from headgate.base.errors import ConfigError

_DOTTED: Final = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_ADDRESS: Final = re.compile(rf"{_DOTTED}(?::{_DOTTED}(?:\(\))?)?")
_EXAMPLE: Final = 'headgate run app:app, or headgate run "app:create_app()" for a factory'
_USUAL: Final = ("app", "wsgi", "main", "application", "asgi")


def check(address: str, folder: str | Path = ".") -> None:
    """Refuse what is no app's address, importing nothing: the app workers would find it out one by one.

    Args:
        address: "module:attribute", "module:factory()", or "module" for its attribute `app`.
        folder: where the app lies, for naming what is there.

    Raises:
        ConfigError: the message says how to write it.
    """
    if _ADDRESS.fullmatch(address) is None or address.endswith(".py"):
        raise ConfigError(_advice(address, Path(folder)))


def _advice(address: str, folder: Path) -> str:
    if not address:
        found = [name for name in _USUAL if (folder / f"{name}.py").exists()]
        here = f" Here is {found[0]}.py: try headgate run {found[0]}:app" if found else ""
        return f"No app was named. Write {_EXAMPLE}; or set app in headgate.toml.{here}"
    if address.endswith(".py") or "/" in address:
        module = address.removesuffix(".py").strip("./").replace("/", ".")
        return f'"{address}" is a file. Name the module and the app in it: headgate run {module}:app'
    if "(" in address:
        return f'"{address}" is not an app: a factory is called without arguments. Write {_EXAMPLE}.'
    return f'"{address}" is not an app. Write "module:attribute": {_EXAMPLE}.'
