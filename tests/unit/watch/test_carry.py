"""What is put on a watched command's path."""

from __future__ import annotations

from pathlib import Path

import headgate
from headgate.watch import carry


def test_the_link_leads_to_this_installation_whatever_was_there(tmp_path: Path) -> None:
    link = tmp_path / carry.FOLDER / "headgate"
    package = Path(headgate.__file__).parent
    carry.environment(tmp_path, {})
    assert link.resolve() == package
    made = link.lstat().st_ino
    carry.environment(tmp_path, {})
    assert link.lstat().st_ino == made, "one that is right is left alone"
    other = tmp_path / "other"
    other.mkdir()
    for target in (other, tmp_path / "gone"):
        link.unlink()
        link.symlink_to(target)
        carry.environment(tmp_path, {})
        assert link.resolve() == package
    assert sorted(each.name for each in link.parent.iterdir()) == ["headgate", "sitecustomize.py"]
