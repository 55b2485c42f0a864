"""The tutorial and the how-to pages are played from their first line to their last."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, Block, blocks, name
from tests.docs.player import Player
from tests.support.chromium import Chromium

PLAYED = [page for page in PAGES if any(block.directive in ("run", "serve") for block in blocks(page))]


def steps(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.directive]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PLAYED, ids=name)
def test_page_plays(page: Path, workdir: Path, request: pytest.FixtureRequest) -> None:
    wants_browser = any(block.directive == "browser" for block in steps(page))
    browser: Chromium | None = request.getfixturevalue("chromium") if wants_browser else None
    with Player(workdir, browser) as player:
        assert player.play(steps(page)) > 0


def test_the_tutorial_is_among_them() -> None:
    assert ROOT / "docs/tutorial/first-app.md" in PLAYED
