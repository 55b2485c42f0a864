"""Carries the watch into any Python command: a private folder on PYTHONPATH, with nothing in it but a link to us."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from headgate.watch import install

FOLDER: Final = "carried"


def environment(
    folder: Path,
    environ: Mapping[str, str],
    *,
    threshold: float = 0.1,
    handler_threshold: float = 1.0,
    quiet: bool = False,
) -> dict[str, str]:
    """The environment under which every Python process watches itself.

    Args:
        folder: of the boards and the journal; made if it is missing.
        environ: the environment to begin with.
        threshold: seconds for which a loop may be busy.
        handler_threshold: seconds for which a handler in a thread may run.
        quiet: no log lines from the processes.
    """
    carried = folder / FOLDER
    carried.mkdir(mode=0o700, parents=True, exist_ok=True)
    package = Path(__file__).resolve().parents[1]
    _link(carried / "headgate", package)
    shutil.copyfile(package / "watch" / "inject" / "sitecustomize.py", carried / "sitecustomize.py")
    path = [str(carried), *([environ["PYTHONPATH"]] if environ.get("PYTHONPATH") else [])]
    return {
        **environ,
        "PYTHONPATH": os.pathsep.join(path),
        install.FOLDER: str(folder),
        install.THRESHOLD: f"{threshold:g}",
        install.HANDLER_THRESHOLD: f"{handler_threshold:g}",
        install.OBSERVER: str(os.getpid()),
        **({install.QUIET: "1"} if quiet else {}),
    }


def _link(link: Path, target: Path) -> None:
    """Let a link point there, whatever an earlier run of another installation has made of it."""
    if link.is_symlink() and os.readlink(link) == str(target):
        return
    new = link.with_name(f"{link.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    os.replace(new, link)
