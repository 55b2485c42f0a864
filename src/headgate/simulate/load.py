"""Finds the scenario that a name, a file or a `module:Class` means."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from headgate.simulate.builtin import Clicks
from headgate.simulate.builtin_http import HttpClicks
from headgate.simulate.builtin_socketio import SocketIoClicks
from headgate.simulate.errors import BadInput, ScenarioError
from headgate.simulate.scenario import Scenario

BUILTIN: dict[str, type[Scenario]] = {
    "clicks": Clicks,
    "http-clicks": HttpClicks,
    "socketio-clicks": SocketIoClicks,
}
_CLICKS = {
    "http": "http-clicks",
    "socketio": "socketio-clicks",
    "socketio-polling": "socketio-clicks",
    "socketio-upgrade": "socketio-clicks",
}


def for_protocol(reference: str, protocol: str) -> str:
    """`clicks` means the clicks that the protocol can carry; any other name means itself."""
    return _CLICKS.get(protocol, reference) if reference == "clicks" else reference


def find_scenario(reference: str) -> type[Scenario]:
    """The class behind `clicks`, `shop.py`, `shop.py:Buyers` or `package.module:Buyers`.

    Raises:
        BadInput: there is no such scenario.
        ScenarioError: the file raises when it is loaded.
    """
    if reference in BUILTIN:
        return BUILTIN[reference]
    place, _, name = reference.partition(":")
    module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place, reference)
    return _pick(module, name, reference)


def make_scenario(reference: str, params: dict[str, Any], shared: Any, overrides: dict[str, Any]) -> Scenario:
    """The scenario object, with command-line overrides set on it.

    Raises:
        ScenarioError: its constructor raises.
    """
    kind = find_scenario(reference)
    try:
        scenario = kind(params, shared)
    except Exception as error:
        raise ScenarioError(f"the scenario {reference!r} cannot be made: {error!r}") from error
    for key, value in overrides.items():
        setattr(scenario, key, value)
    return scenario


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise BadInput(f"there is no scenario file {str(path)!r}")
    name = f"headgate_scenario_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadInput(f"{str(path)!r} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _broken(str(path), error) from error
    finally:
        sys.path.remove(str(path.parent.resolve()))
    return module


def _load_module(place: str, reference: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and place.startswith(error.name):
            known = ", ".join(sorted(BUILTIN))
            raise BadInput(
                f"there is no scenario {reference!r}: it is neither built in ({known}), nor a file"
                " ending in .py, nor a module that can be imported"
            ) from None
        raise _broken(place, error) from error
    except Exception as error:
        raise _broken(place, error) from error


def _broken(place: str, error: Exception) -> ScenarioError:
    lines = traceback.format_exception(error)
    return ScenarioError(f"the scenario {place} raised while it was loaded\n\n{''.join(lines[-8:])}")


def _pick(module: ModuleType, name: str, reference: str) -> type[Scenario]:
    found = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Scenario) and value is not Scenario
    }
    if name:
        if name not in found:
            raise BadInput(f"{reference!r}: the module has no Scenario class named {name!r}")
        return found[name]
    own = [value for value in found.values() if value.__module__ == module.__name__]
    if len(own) == 1:
        return own[0]
    if not own:
        raise BadInput(f"{reference!r} defines no subclass of headgate.simulate.scenario.Scenario")
    names = ", ".join(value.__name__ for value in own)
    raise BadInput(f"{reference!r} defines several scenarios ({names}); add :Name to choose one")
