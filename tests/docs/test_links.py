"""Every relative link in the documents leads somewhere, anchors included; every page can be reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, anchors, links, name


def resolve(page: Path, target: str) -> tuple[Path, str]:
    """The file and the anchor that a relative link means."""
    path, _, anchor = target.partition("#")
    return ((page.parent / path).resolve() if path else page), anchor


def relative(page: Path) -> list[str]:
    return [target for target in links(page) if not target.startswith(("http://", "https://", "mailto:"))]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    dead = []
    for target in relative(page):
        path, anchor = resolve(page, target)
        if not path.exists():
            dead.append(f"{target}: there is no {path}")
        elif anchor and path.suffix == ".md" and anchor not in anchors(path):
            dead.append(f"{target}: {path.name} has no heading #{anchor}; it has {sorted(anchors(path))}")
    assert dead == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or not page.exists():  # a dead link is the other test's matter
            continue
        reached.add(page)
        waiting += [path for path, _ in (resolve(page, target) for target in relative(page)) if path.suffix == ".md"]
        waiting += [path / "README.md" for path, _ in (resolve(page, t) for t in relative(page)) if path.is_dir()]
    assert [name(page) for page in PAGES if page not in reached] == []
