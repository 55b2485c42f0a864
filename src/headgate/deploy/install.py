"""Puts a rendered deployment into its place, shows beforehand what that changes, and takes it back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Final

from headgate.base.errors import ConfigError
from headgate.deploy.record import Record, below, load, make_folder, remove_folders, save, target_of
from headgate.deploy.render import File
from headgate.deploy.texts import digest, put, text_of

_BEFORE: Final = ".before-headgate"
_READS_ALL: Final = "logrotate.d"
"""A folder whose files are read whatever they end in, but for a `~`."""
_ADOPTED: Final = "as it should be already; from now on ours, which an uninstall removes"


class Action(StrEnum):
    """What an installation does with a file."""

    CREATE = "create"
    REPLACE = "replace"
    KEEP = "keep"
    """It is there as it should be."""
    ADOPT = "adopt"
    """The same, but it was not we who wrote it: from now on it is ours."""
    REMOVE = "remove"
    RESTORE = "restore"
    """What was there before comes back."""
    SPARE = "spare"
    """It is not ours, or somebody has edited it since; it is not touched without force."""
    FORGET = "forget"
    """What was there before is back already, by somebody's hand: it stays, and is ours no more."""


@dataclass(frozen=True)
class Step:
    """One file of an installation."""

    action: Action
    path: Path
    text: str = ""
    mode: int = 0o644
    copy: Path | None = None
    """Where a file that is not ours is kept, or comes back from."""
    note: str = ""
    """Why, in words for the plan."""


def changes(planned: Iterable[Step]) -> bool:
    """Whether carrying it out would change anything."""
    return any(step.action not in (Action.KEEP, Action.SPARE) for step in planned)


def steps(files: Iterable[File], name: str, root: Path, force: bool = False) -> list[Step]:
    """What an installation would do; it changes nothing.

    Args:
        files: the deployment.
        name: the service, under which the record is kept.
        root: the system's root, or a folder in its place.
        force: replace what is not ours, which is kept beside, and what somebody has edited.

    Raises:
        ConfigError: a file or the record cannot be read.
    """
    record = load(root, name)
    placed = {str(file.target): file for file in files if file.target is not None}
    planned = [_forward(target, file, root, record, force) for target, file in placed.items()]
    gone = [target for target in sorted(record.files) if target not in placed]
    return [*planned, *(_back(target, root, record, force) for target in gone)]


def uninstall(name: str, root: Path, force: bool = False) -> list[Step]:
    """What taking it back would do: our files go, but for edited ones, and what was there before comes back.

    Raises:
        ConfigError: nothing of that name was installed there, or a file cannot be read.
    """
    record = load(root, name)
    if not record.files:
        raise ConfigError(f"No deployment named {name} was installed below {root}.")
    return [_back(target, root, record, force) for target in sorted(record.files)]


def _forward(target: str, file: File, root: Path, record: Record, force: bool) -> Step:
    path = below(root, target)
    there, known = text_of(path), record.files.get(target)
    step = Step(Action.CREATE, path, file.text, file.mode)
    if there is None:
        return step
    if there == file.text:
        return (
            replace(step, action=Action.KEEP)
            if known is not None
            else replace(step, action=Action.ADOPT, note=_ADOPTED)
        )
    if known is None or (digest(there) != known and _brought_back(target, digest(there), root, record)):
        return _over_a_strangers(step, force, _copy(target, root, record))
    if digest(there) == known:
        return replace(step, action=Action.REPLACE)
    if force:
        return replace(step, action=Action.REPLACE, note="ours, and edited since")
    return replace(step, action=Action.SPARE, note="ours, and edited since; --force replaces it")


def _over_a_strangers(step: Step, force: bool, kept: Path | None) -> Step:
    same = kept is not None and text_of(kept) == text_of(step.path)
    copy = kept if kept is not None and same else _free_name(step.path)
    if force:
        return replace(step, action=Action.REPLACE, copy=copy, note=f"not ours; it is kept as {copy.name}")
    note = f"not ours; --force keeps it as {copy.name} and puts ours in its place"
    return replace(step, action=Action.SPARE, note=note)


def _free_name(path: Path) -> Path:
    """Where to keep it: a name that no other file has, and under which no program reads it."""
    tail = "~" if path.parent.name == _READS_ALL else ""
    names = (path.with_name(f"{path.name}{_BEFORE}{f'.{number}' if number else ''}{tail}") for number in count())
    return next(copy for copy in names if not os.path.lexists(copy) or _same(copy, path))


def _same(one: Path, other: Path) -> bool:
    """Two names of one file: an installation that was cut off has got that far."""
    return os.path.samestat(one.lstat(), other.lstat())


def _copy(target: str, root: Path, record: Record) -> Path | None:
    """Where what was there before is kept; None when nothing was, or when the copy is gone."""
    kept = record.before.get(target)
    return below(root, kept) if kept is not None and os.path.lexists(below(root, kept)) else None


def _brought_back(target: str, there: str, root: Path, record: Record) -> bool:
    """Whether a file that is not as we wrote it is the one that was there before, copied or moved back by hand."""
    if target not in record.before:
        return False
    return there == record.originals.get(target) or _copy(target, root, record) is None


def _back(target: str, root: Path, record: Record, force: bool) -> Step:
    path, there = below(root, target), text_of(below(root, target))
    copy = _copy(target, root, record)
    edited = there is not None and digest(there) != record.files[target]
    if there is not None and edited and _brought_back(target, digest(there), root, record):
        if copy is None:
            return Step(Action.FORGET, path, note="not ours any more: its copy was moved back by hand; it stays")
    elif edited and not force:
        otherwise = f"puts {copy.name} back" if copy is not None else "removes it"
        return Step(Action.SPARE, path, note=f"ours, and edited since; --force {otherwise}")
    if copy is not None:
        return Step(Action.RESTORE, path, copy=copy, note=f"from {copy.name}")
    return Step(Action.REMOVE, path)


def carry_out(planned: Sequence[Step], name: str, root: Path, labels: dict[str, list[str]] | None = None) -> None:
    """Do it: each file is whole or as before, and the record names what is ours.

    Args:
        planned: what `steps` or `uninstall` said.
        name: the service.
        root: the system's root, or a folder in its place.
        labels: what the deployment's SELinux module labels; None to leave that in the record as it is.

    Raises:
        ConfigError: a file cannot be written; what was done before it stays, and the same call goes on.
    """
    record = load(root, name)
    record.labels = record.labels if labels is None else labels
    try:
        for _ in _done(planned, root, record):
            save(root, name, record)
        remove_folders(root, record)
        save(root, name, record)
    except OSError as exc:
        raise ConfigError(f"{exc.filename} cannot be written: {exc.strerror}. Run it as root.") from None


def _done(planned: Iterable[Step], root: Path, record: Record) -> Iterator[None]:
    """Take the steps; after each yield the record is to be saved."""
    for step in planned:
        target = target_of(step.path, root)
        if step.action in (Action.REMOVE, Action.RESTORE, Action.FORGET):
            if step.action is not Action.FORGET:
                _take_back(step)
            for kept in (record.files, record.before, record.originals):
                kept.pop(target, None)
        elif step.action is not Action.SPARE:
            if step.copy is not None:
                _keep(step.path, step.copy)
                record.before[target] = target_of(step.copy, root)
                record.originals[target] = digest(text_of(step.copy) or "")
                yield
            if step.action in (Action.CREATE, Action.REPLACE):
                _place(step, root, record)
            record.files[target] = digest(step.text)
        yield


def _take_back(step: Step) -> None:
    if step.copy is not None:
        os.replace(step.copy, step.path)
    else:
        step.path.unlink(missing_ok=True)


def _keep(path: Path, copy: Path) -> None:
    """Give the file a second name: owner, mode and label stay, and no other file can be overwritten by it."""
    if not os.path.lexists(copy):
        os.link(path, copy, follow_symlinks=False)


def _place(step: Step, root: Path, record: Record) -> None:
    make_folder(step.path.parent, root, record)
    ours = target_of(step.path, root) in record.files
    # Its group may have been given to the service, which has to read it after this as before.
    owner = step.path.stat() if ours and step.path.exists() else None
    put(step.path, step.text, step.mode, owner)
