"""What an installation keeps of itself: which files are ours, what lay there before, which folders were made."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from headgate.base.errors import ConfigError
from headgate.deploy.texts import put, text_of

_FOLDER: Final = "var/lib/headgate-deploy"


@dataclass
class Record:
    """An installation; paths are those of the system, without the root."""

    files: dict[str, str] = field(default_factory=dict)
    """Ours → checksum of what we wrote."""
    before: dict[str, str] = field(default_factory=dict)
    """A file that was there before and was not ours → where it is kept."""
    originals: dict[str, str] = field(default_factory=dict)
    """The same → its checksum, by which it is known again when somebody has brought it back by hand."""
    folders: list[str] = field(default_factory=list)
    """Folders that were made for our files."""
    labels: dict[str, list[str]] = field(default_factory=dict)
    """SELinux module → what it labels, and what is labelled anew when it has gone."""


def load(root: Path, name: str) -> Record:
    """The record of an installation; an empty one where there is none.

    Raises:
        ConfigError: it cannot be read.
    """
    path = root / _FOLDER / f"{name}.json"
    text = text_of(path)
    if text is None:
        return Record()
    try:
        found: dict[str, Any] = json.loads(text)
        # The first versions kept the checksums alone.
        return Record(**found) if "files" in found else Record(files=found)
    except (ValueError, TypeError):
        raise ConfigError(f"{path}, which says what was installed, is damaged; bring it back from a backup.") from None


def save(root: Path, name: str, record: Record) -> None:
    """Keep the record; without files there is nothing to keep."""
    path = root / _FOLDER / f"{name}.json"
    if not (record.files or record.before):
        path.unlink(missing_ok=True)
        return
    make_folder(path.parent, root, record)
    text = json.dumps(asdict(record), indent=1, sort_keys=True) + "\n"
    if text != text_of(path):
        put(path, text)


def make_folder(folder: Path, root: Path, record: Record) -> None:
    """Make a folder and those above it, and keep in mind which were not there.

    Everybody may enter them, whatever root's umask is: services read what lies there.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        record.folders.append(target_of(each, root))
        each.mkdir()
        each.chmod(0o755)


def remove_folders(root: Path, record: Record) -> None:
    """Remove the folders that we made, where they are empty."""
    for target in sorted(record.folders, reverse=True):
        folder = below(root, target)
        with contextlib.suppress(OSError):
            if folder.is_dir():
                os.rmdir(folder)
        if not folder.exists():
            record.folders.remove(target)


def below(root: Path, target: str) -> Path:
    """A path of the system, below the root."""
    return root / target.lstrip("/")


def target_of(path: Path, root: Path) -> str:
    """The path that the system has for it."""
    return f"/{path.relative_to(root)}"
