"""Makes this process's Flask-SocketIO and python-socketio Headgate's, between their import and their first use.

The same hook meets eventlet and gevent: monkey-patching would put the app's threads onto a hub that nothing runs here.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from headgate.base.errors import ConfigError
from headgate.declare.socketio import once

log = logging.getLogger("headgate.app")

_QUEUES = ("PubSubManager", "RedisManager", "KombuManager", "KafkaManager", "ZmqManager")
_told: set[str] = set()


def prepare(locks: Path, *, spectator: bool = False) -> None:
    """Meet the libraries as the app imports them; once per process, before the app.

    Args:
        locks: the folder for the locks of background tasks.
        spectator: this process runs no background tasks of the app's import.

    Raises:
        ConfigError: the process is monkey-patched already.
    """
    once.folder, once.spectator, once.importing = locks, spectator, True
    _refuse_patched()
    _MET.update(_HOSTED)
    meet()


def meet() -> None:
    """Meet the libraries, those too that are imported already."""
    if not any(isinstance(one, _Finder) for one in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
        for name, meet_one in _MET.items():
            if name in sys.modules:
                meet_one(sys.modules[name])


def imported() -> None:
    """The app is imported: what it starts from now on is started by handlers."""
    once.importing = False


class _Finder(importlib.abc.MetaPathFinder):
    """Finds as the others do, and adds a step after the module's own code."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        meet = _MET.get(name)
        if meet is None:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, meet)
                return spec
        return None


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader, meet: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._meet = meet

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ == "eventlet":
            # Its own deprecation, of which it tells whoever imports it: that would be this line, and not the app's.
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
                self._loader.exec_module(module)
        else:
            self._loader.exec_module(module)
        self._meet(module)

    def __getattr__(self, name: str) -> Any:  # get_data and the like, which resources are read with
        return getattr(self._loader, name)


def _meet_socketio(module: ModuleType) -> None:
    from headgate.declare.socketio.manager import GatewayManager
    from headgate.declare.socketio.server import GatewayServer

    vars(module)["Server"] = GatewayServer
    for name in _QUEUES:
        vars(module)[name] = GatewayManager


def _meet_flask_socketio(module: ModuleType) -> None:
    def run(self: Any, app: Any, host: str | None = None, port: int | None = None, **_options: Any) -> None:
        _tell(
            "socketio.run", "socketio.run() is not needed here: `headgate run` serves the app (its flag --bind: where)"
        )

    def stop(self: Any) -> None:
        _tell("socketio.stop", "socketio.stop() does nothing here: `headgate stop` ends the server")

    module.SocketIO.run, module.SocketIO.stop = run, stop


def _meet_eventlet(module: ModuleType) -> None:
    vars(module)["monkey_patch"] = _unpatched("eventlet.monkey_patch()")
    for name in ("spawn", "spawn_n", "spawn_after", "spawn_after_local"):
        vars(module)[name] = _refused(f"eventlet.{name}()")


def _meet_gevent(module: ModuleType) -> None:
    for name in ("spawn", "spawn_raw", "spawn_later"):
        vars(module)[name] = _refused(f"gevent.{name}()")


def _meet_gevent_monkey(module: ModuleType) -> None:
    for name in [name for name in vars(module) if name.startswith("patch_")]:
        vars(module)[name] = _unpatched("gevent.monkey")


_MET: dict[str, Callable[[ModuleType], None]] = {"socketio": _meet_socketio}
_HOSTED: dict[str, Callable[[ModuleType], None]] = {
    "flask_socketio": _meet_flask_socketio,
    "eventlet": _meet_eventlet,
    "gevent": _meet_gevent,
    "gevent.monkey": _meet_gevent_monkey,
}


def _unpatched(what: str) -> Callable[..., bool]:
    def ignored(*_args: Any, **_kwargs: Any) -> bool:
        caller = sys._getframe(1)
        where = f"{caller.f_code.co_filename}:{caller.f_lineno}"
        _tell(what, f"{what} is left out ({where}): handlers run on real threads here, and sockets are the gateway's")
        return True

    return ignored


def _refused(what: str) -> Callable[..., Any]:
    def refuse(*_args: Any, **_kwargs: Any) -> Any:
        raise ConfigError(
            f"{what} starts a green thread, and no hub runs here that would ever switch to it: "
            "use socketio.start_background_task() instead, which starts a thread (or a @gate.job for long work)"
        )

    return refuse


def _refuse_patched() -> None:
    """Patched before we came: by a sitecustomize, or by `python -m gevent.monkey`."""
    threading = sys.modules.get("threading")
    start = getattr(threading, "_start_new_thread", None)
    owner = getattr(start, "__module__", "") or ""
    if owner.startswith(("eventlet", "gevent")):
        raise ConfigError(
            f"this Python is monkey-patched by {owner.partition('.')[0]} before the app is imported (sitecustomize, or "
            "`python -m gevent.monkey`): start `headgate run` without that; app code may keep its own call"
        )


def _tell(key: str, text: str) -> None:
    if key not in _told:
        _told.add(key)
        log.info("%s", text)
