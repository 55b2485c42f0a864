"""Puts a rendered deployment into its place, shows beforehand what that changes, and takes it back."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from headgate.base.errors import ConfigError
from headgate.deploy.render import File

_MANIFEST: Final = "var/lib/headgate-deploy"


class Action(StrEnum):
    """What an installation does with a file."""

    CREATE = "create"
    REPLACE = "replace"
    KEEP = "keep"
    """It is there as it should be."""
    REMOVE = "remove"
    SPARE = "spare"
    """Somebody has changed it since; it is not touched without force."""


@dataclass(frozen=True)
class Step:
    """One file of an installation."""

    action: Action
    path: Path
    text: str = ""
    mode: int = 0o644


def write(files: Iterable[File], folder: Path) -> list[Path]:
    """Write a deployment as a folder to be reviewed.

    Raises:
        ConfigError: the folder holds something that is no deployment, or cannot be written.
    """
    marker = folder / "README.md"
    if folder.exists() and any(folder.iterdir()) and not (marker.exists() and "headgate deploy" in marker.read_text()):
        raise ConfigError(f"{folder} is not empty, and no deployment of ours; name another one with --to.")
    written = []
    try:
        for file in files:
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.text)
            path.chmod(file.mode)
            written.append(path)
    except OSError as exc:
        raise ConfigError(f"{exc.filename} cannot be written: {exc.strerror}.") from None
    return written


def steps(files: Iterable[File], name: str, root: Path, force: bool = False) -> list[Step]:
    """What an installation would do; it changes nothing.

    Args:
        files: the deployment.
        name: the service, under which the manifest is kept.
        root: the system's root, or a folder in its place.
        force: replace what somebody has changed.
    """
    known = _manifest(root, name)
    found: list[Step] = []
    for file in files:
        if file.target is None:
            continue
        path = root / str(file.target).lstrip("/")
        found.append(
            Step(_action(path, file.text, known.pop(str(file.target), None), force), path, file.text, file.mode)
        )
    for target, digest in known.items():
        path = root / target.lstrip("/")
        if path.exists():
            changed = _digest(path.read_text(errors="replace")) != digest
            found.append(Step(Action.SPARE if changed and not force else Action.REMOVE, path))
    return found


def _action(path: Path, text: str, digest: str | None, force: bool) -> Action:
    if not path.exists():
        return Action.CREATE
    there = path.read_text(errors="replace")
    if there == text:
        return Action.KEEP
    ours = digest is not None and _digest(there) == digest
    return Action.REPLACE if ours or force else Action.SPARE


def carry_out(planned: Iterable[Step], name: str, root: Path) -> None:
    """Do it: each file is whole or as before, and the manifest names what is ours.

    Raises:
        ConfigError: a file cannot be written; what was done before it stays, and the same call goes on.
    """
    ours = _manifest(root, name)
    try:
        for step in planned:
            target = f"/{step.path.relative_to(root)}"
            if step.action is Action.REMOVE:
                step.path.unlink(missing_ok=True)
                ours.pop(target, None)
            elif step.action in (Action.CREATE, Action.REPLACE):
                _replace(step)
                ours[target] = _digest(step.text)
            elif step.action is Action.KEEP:
                ours[target] = _digest(step.text)
            _remember(root, name, ours)
    except OSError as exc:
        raise ConfigError(f"{exc.filename} cannot be written: {exc.strerror}. Run it as root.") from None


def uninstall(name: str, root: Path, force: bool = False) -> list[Step]:
    """What taking it back would remove: our files, but for those that somebody has changed.

    Raises:
        ConfigError: nothing of that name was installed there.
    """
    known = _manifest(root, name)
    if not known:
        raise ConfigError(f"No deployment named {name} was installed below {root}.")
    found = []
    for target, digest in sorted(known.items()):
        path = root / target.lstrip("/")
        if not path.exists():
            found.append(Step(Action.REMOVE, path))
        else:
            changed = _digest(path.read_text(errors="replace")) != digest
            found.append(Step(Action.SPARE if changed and not force else Action.REMOVE, path))
    return found


def _replace(step: Step) -> None:
    step.path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=step.path.parent, prefix=f".{step.path.name}.")
    with os.fdopen(descriptor, "w") as file:
        file.write(step.text)
        os.fchmod(file.fileno(), step.mode)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, step.path)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _manifest(root: Path, name: str) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads((root / _MANIFEST / f"{name}.json").read_text())
    except (OSError, ValueError):
        return {}
    return found


def _remember(root: Path, name: str, ours: dict[str, str]) -> None:
    path = root / _MANIFEST / f"{name}.json"
    if ours:
        _replace(Step(Action.REPLACE, path, json.dumps(ours, indent=1, sort_keys=True) + "\n"))
    else:
        path.unlink(missing_ok=True)
