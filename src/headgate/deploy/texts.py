"""Files as texts, byte for byte: what an installation and a folder compare with what they once wrote."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from headgate.base.errors import ConfigError

_ERRORS = "surrogateescape"
"""Somebody's edit may be in any encoding, and comes back as it was."""


def text_of(path: Path) -> str | None:
    """What a file holds; None where there is none. A link that leads nowhere is there, and empty.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return path.read_bytes().decode("utf-8", _ERRORS)
    except (FileNotFoundError, NotADirectoryError):
        return "" if path.is_symlink() else None
    except PermissionError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}. Run it as root.") from None
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}.") from None


def digest(text: str) -> str:
    """SHA-256, as sha256sum writes it."""
    return hashlib.sha256(text.encode("utf-8", _ERRORS)).hexdigest()


def put(path: Path, text: str, mode: int = 0o644, owner: os.stat_result | None = None) -> None:
    """Write a file that is whole or as before, in a folder that is there.

    Args:
        path: where.
        text: its content.
        mode: its permissions.
        owner: whose user and group it gets; None for those of this process.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode("utf-8", _ERRORS))
            if owner is not None:
                with contextlib.suppress(PermissionError):
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
