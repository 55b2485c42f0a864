"""Finds the app that `headgate run module:attribute` names; what goes wrong is said so that it can be put right."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import msgspec

from headgate.base.errors import ConfigError

Interface = Literal["wsgi", "asgi"]
_USUAL = ("app", "application", "create_app", "make_app")


class Loaded(msgspec.Struct, frozen=True):
    """The app, and which of the two interfaces it speaks."""

    app: Any
    interface: Interface
    module: ModuleType


def load(address: str) -> Loaded:
    """Import the app.

    Args:
        address: "module:attribute", "module" (its attribute `app`), or "module:factory()".

    Raises:
        ConfigError: it cannot be found, exits, or is no app; the message says what there is instead.
        Exception: whatever the app's own code raises while it is imported or made.
    """
    if not address:
        raise ConfigError('no app is named; write "module:attribute", as in `headgate run shop.web:app`')
    name, _, attribute = address.partition(":")
    attribute, factory = attribute or "app", attribute.endswith("()")
    attribute = attribute.removesuffix("()")
    module = _module(name, address)
    found = _attribute(module, attribute, address)
    app = _made(found, address) if factory else found
    return Loaded(app, _interface(app, address, factory), module)


def _module(name: str, address: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not (name == exc.name or name.startswith(exc.name + ".")):
            raise  # the module is there, and imports something that is not: its traceback says it best
        raise ConfigError(_no_module(name, exc.name, here)) from None
    except SystemExit as exc:
        raise ConfigError(_exits(address, exc)) from exc
    except (TypeError, ValueError) as exc:
        if traceback.extract_tb(exc.__traceback__)[-1].name != "import_module":
            raise
        raise ConfigError(f"{name!r} in {address!r} is no module name; write dots, not slashes: shop.web:app") from None


def _no_module(name: str, missing: str, here: str) -> str:
    text = f"there is no module {missing!r} (looked in {here} and {len(sys.path) - 1} more places)"
    if name.endswith(".py") or "/" in name:
        return f"{text}; give a module, not a file: {name.removesuffix('.py').replace('/', '.')}:app"
    holder, dot, attribute = name.rpartition(".")
    if dot and missing == name:
        return f"{text}; if {attribute!r} is the app in the module {holder!r}, write {holder}:{attribute}"
    near = difflib.get_close_matches(missing, _modules_in(here), 1)
    return text + (f"; did you mean {near[0]!r}?" if near else "; start in the folder that holds it")


def _modules_in(folder: str) -> list[str]:
    try:
        entries = list(Path(folder).iterdir())
    except OSError:
        return []
    return [entry.stem for entry in entries if entry.suffix == ".py" or (entry / "__init__.py").exists()]


def _attribute(module: ModuleType, attribute: str, address: str) -> Any:
    found: Any = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ConfigError(_no_attribute(module, found, part, address)) from None
    return found


def _no_attribute(module: ModuleType, holder: Any, part: str, address: str) -> str:
    names = [name for name, value in vars(holder).items() if not name.startswith("_") and callable(value)]
    text = f"{address!r}: {getattr(holder, '__name__', type(holder).__name__)} has no attribute {part!r}"
    near = difflib.get_close_matches(part, names, 1) or [name for name in _USUAL if name in names]
    if near and inspect.isfunction(vars(holder)[near[0]]) and _takes(vars(holder)[near[0]], 0):
        return f"{text}; did you mean the factory {near[0]!r}? Then write {module.__name__}:{near[0]}()"
    return text + (f"; did you mean {near[0]!r}?" if near else f"; it has {_listed(names)}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[:8]) or "nothing that can be called"


def _made(factory: Callable[[], Any], address: str) -> Any:
    if not callable(factory):
        raise ConfigError(f"{address!r}: {type(factory).__name__} cannot be called; leave out the brackets")
    try:
        inspect.signature(factory).bind()
    except TypeError as exc:
        raise ConfigError(f"{address!r}: the factory must need no arguments ({exc}); give them defaults") from None
    except ValueError:
        pass  # a built-in without a signature: calling it will tell
    try:
        return factory()
    except SystemExit as exc:
        raise ConfigError(_exits(address, exc)) from exc


def _exits(address: str, exc: SystemExit) -> str:
    at = traceback.extract_tb(exc.__traceback__)[-1]
    return (
        f"{address!r} ends the process when it is imported: sys.exit({exc.code!r}) in {at.filename}, line {at.lineno}; "
        'put what only a script does under `if __name__ == "__main__":`'
    )


def _interface(app: Any, address: str, made: bool) -> Interface:
    if not callable(app):
        raise ConfigError(
            f"{address!r} is of the type {type(app).__name__}, which is no app: a WSGI or ASGI app can be called"
        )
    if _is_asgi(app):
        return "asgi"
    if inspect.isfunction(app) and not made and not _takes(app, 2):
        raise ConfigError(
            f"{address!r} is a function that does not take (environ, start_response); "
            f"if it makes the app, write {address}()"
        )
    return "wsgi"


def _is_asgi(app: Any) -> bool:
    call = app if inspect.isroutine(app) else type(app).__call__
    return inspect.iscoroutinefunction(inspect.unwrap(call))


def _takes(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True
