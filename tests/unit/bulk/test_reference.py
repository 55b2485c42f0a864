"""The reference page names all that there is."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from headgate import bulk

PAGE = (Path(__file__).resolve().parents[3] / "docs/reference/bulk.md").read_text()
WORDS = {word for piece in re.findall(r"`([^`\n]+)`", PAGE) for word in re.findall(r"\w+", piece)}


@pytest.mark.parametrize(
    "kind", [bulk.Options, bulk.Politeness, bulk.Result, bulk.Reject], ids=lambda kind: kind.__name__
)
def test_fields_are_named(kind: type) -> None:
    fields = {field.name for field in dataclasses.fields(kind)}
    assert fields - WORDS == set()


def test_names_are_named() -> None:
    assert set(bulk.__all__) - WORDS == {"Options"}  # whose fields are the options' table
