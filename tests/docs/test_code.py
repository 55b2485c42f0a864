"""What the documents show is right as far as it can be told without running it: code parses, settings exist."""

from __future__ import annotations

import ast
import json
import tomllib

import pytest

from headgate.config.settings import DECLARED
from tests.docs.pages import PAGES, Block, blocks


def fenced(*languages: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page) if block.language in languages]


@pytest.mark.parametrize("block", fenced("python"), ids=lambda block: block.where)
def test_python_parses(block: Block) -> None:
    ast.parse(block.text)


@pytest.mark.parametrize("block", fenced("json"), ids=lambda block: block.where)
def test_json_parses(block: Block) -> None:
    for line in block.text.splitlines():
        json.loads(line)


@pytest.mark.parametrize("block", fenced("toml"), ids=lambda block: block.where)
def test_settings_exist(block: Block) -> None:
    """A TOML block is a headgate.toml, or a pyproject.toml with a table for Headgate."""
    read = tomllib.loads(block.text)
    settings = read.get("tool", {}).get("headgate", read)
    assert [key for key in settings if key not in DECLARED] == []
