"""What the SELinux module labels, read from its file contexts: when it has gone, these files need other labels."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

from headgate.deploy.render import File

_CONTEXT: Final = re.compile(
    r"(/(?:[^\s()\[\]?*+|^$\\]|\\.)*)(?:\(/\.\*\)\?)?(?:\s+-[bcdlps-])?\s+(?:gen_context|system_u)"
)
"""A line of file contexts: a plain path, which may stand for all below it. See selabel_file(5)."""


def labels(files: Iterable[File]) -> dict[str, list[str]]:
    """Each module with the paths that it labels, without those below another.

    The file is read as somebody may have edited it. A pattern that is no plain path is left out: what is above it
    may hold much that is not ours.
    """
    return {file.path.stem: _paths(file.text) for file in files if file.path.suffix == ".fc"}


def afterwards(known: dict[str, list[str]]) -> list[str]:
    """The commands that take the modules out and give what they labelled the system's own labels."""
    return [f"semodule -r {module} && restorecon -RFi {' '.join(paths)}" for module, paths in sorted(known.items())]


def _paths(text: str) -> list[str]:
    named = [found.group(1).replace("\\", "") for line in text.splitlines() if (found := _CONTEXT.match(line))]
    # Up to EL9, policies write /run as /var/run.
    paths = [PurePosixPath(re.sub(r"^/var/run\b", "/run", each)) for each in named]
    highest = (path for path in paths if not any(path.is_relative_to(up) for up in paths if up != path))
    return [str(path) for path in dict.fromkeys(highest)]
