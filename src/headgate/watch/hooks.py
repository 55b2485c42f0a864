"""Runs something when a module has been imported, whenever that is; at once for what is imported already."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec

Hook = Callable[[ModuleType], None]


class AfterImport:  # importlib.abc would load two megabytes of resources, archives and temporary files
    """To be put first into `sys.meta_path`; it answers for the modules of its table and for nothing else.

    Args:
        hooks: module name → what to do with the module.
    """

    def __init__(self, hooks: Mapping[str, Hook]) -> None:
        self._hooks = dict(hooks)
        self._looking: set[str] = set()

    def install(self) -> None:
        """Begin; modules that are there already are hooked now."""
        for name, hook in self._hooks.items():
            if name in sys.modules:
                _safely(hook, sys.modules[name])
        sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Hook nothing more."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that the others find, with our hook behind its loader."""
        if fullname not in self._hooks or fullname in self._looking:
            return None
        self._looking.add(fullname)
        try:
            for finder in sys.meta_path:
                if finder is not self and (spec := finder.find_spec(fullname, path, target)) is not None:
                    if spec.loader is not None:
                        spec.loader = cast("Loader", _Loader(spec.loader, self._hooks[fullname]))
                    return spec
            return None
        finally:
            self._looking.discard(fullname)


class _Loader:
    def __init__(self, loader: Any, hook: Hook) -> None:
        self._loader = loader
        self._hook = hook

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:  # whoever asks later meets the real loader
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        _safely(self._hook, module)


def _safely(hook: Hook, module: ModuleType) -> None:
    """A module that is not as expected goes unwatched; the service must not notice."""
    try:
        hook(module)
    except Exception as exc:
        from headgate.watch.native import say

        say(f"headgate watch: {module.__name__} cannot be watched ({exc!r})")
