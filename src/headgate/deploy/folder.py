"""The folder to be reviewed: written whole, and written again without losing what somebody has edited in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from headgate.base.errors import ConfigError
from headgate.deploy.render import CHECKSUMS, File
from headgate.deploy.texts import digest, text_of

NEW: Final = ".new"
_LINE: Final = re.compile(r"([0-9a-f]{64})  (.+)")
_SOURCE: Final = "# --from "
"""A line that names a file of the old deployment; sha256sum reads it as a comment."""


@dataclass
class Written:
    """A folder after it was written."""

    files: list[File] = field(default_factory=list)
    """The deployment as it lies there: an edited file with its edits."""
    edited: list[str] = field(default_factory=list)
    """Files that somebody has edited, and that were left alone."""
    beside: list[str] = field(default_factory=list)
    """Of those the ones whose new version lies beside, as `<file>.new`: it says something else than the last one."""
    missing: list[str] = field(default_factory=list)
    """Files of the old deployment that the folder was made from before, and not this time."""


def write(files: Iterable[File], folder: Path, overwrite: bool = False, sources: Iterable[str] = ()) -> Written:
    """Write a deployment as a folder to be reviewed.

    A file that was edited there is kept, as dpkg and rpm keep configuration files. If what would be generated has
    changed too, that lies beside.

    Args:
        files: the deployment.
        folder: where.
        overwrite: write edited files anew, and forget what it was made from before.
        sources: names of the old deployment's files that it is made from.

    Raises:
        ConfigError: the folder holds something that is no deployment, or cannot be written.
    """
    known = _known(folder)
    names, before = list(dict.fromkeys(sources)), [] if overwrite else _sources(folder)
    done = Written(missing=[name for name in before if name not in names])
    record: dict[str, str] = {}
    try:
        for file in files:
            _one(file, folder, known, record, done, overwrite)
        _clear(folder, known, record, done)
        lines = [f"{_SOURCE}{name}\n" for name in sorted({*names, *before})]
        lines += [f"{checksum}  {path}\n" for path, checksum in sorted(record.items())]
        _write(folder / CHECKSUMS, "".join(lines))
    except OSError as exc:
        raise ConfigError(f"{exc.filename} cannot be written: {exc.strerror}.") from None
    return done


def edited(folder: Path, path: str) -> bool:
    """Whether a file of a folder is not as it was generated."""
    there = text_of(folder / path)
    return there is not None and digest(there) != _checksums(folder).get(path)


def _known(folder: Path) -> dict[str, str]:
    """What was generated there before, path → checksum."""
    readme = text_of(folder / "README.md") or ""
    ours = (folder / CHECKSUMS).exists() or "headgate deploy" in readme
    if folder.is_dir() and any(folder.iterdir()) and not ours:
        raise ConfigError(f"{folder} is not empty, and no deployment of ours; name another one with --to.")
    return _checksums(folder)


def _checksums(folder: Path) -> dict[str, str]:
    lines = (text_of(folder / CHECKSUMS) or "").splitlines()
    return {found.group(2): found.group(1) for line in lines if (found := _LINE.fullmatch(line))}


def _sources(folder: Path) -> list[str]:
    lines = (text_of(folder / CHECKSUMS) or "").splitlines()
    return [line.removeprefix(_SOURCE) for line in lines if line.startswith(_SOURCE)]


def _one(
    file: File, folder: Path, known: dict[str, str], record: dict[str, str], done: Written, overwrite: bool
) -> None:
    path = str(file.path)
    record[path] = digest(file.text)
    there = text_of(folder / path)
    if overwrite or there is None or there == file.text or digest(there) == known.get(path):
        _write(folder / path, file.text, file.mode)
        done.files.append(file)
        return
    done.files.append(replace(file, text=there))
    done.edited.append(path)
    if known.get(path) != record[path]:
        _write(folder / (path + NEW), file.text, file.mode)
        done.beside.append(path)
        record[path + NEW] = record[path]
    elif path + NEW in known:
        record[path + NEW] = known[path + NEW]


def _clear(folder: Path, known: dict[str, str], record: dict[str, str], done: Written) -> None:
    """Remove what was generated once and is no more, unless somebody has edited it."""
    for path in known.keys() - record.keys():
        there = text_of(folder / path)
        if there is not None and digest(there) == known[path]:
            (folder / path).unlink()
        elif there is not None:
            done.edited.append(path)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    path.chmod(mode)
