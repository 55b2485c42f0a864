"""Each dependency has its reason in the documents."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.docs.pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGE = ROOT / "docs/explanation/libraries.md"


def dependencies() -> list[str]:
    wanted = list(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        wanted += extra
    names = {re.split(r"[\s\[<>=!~;]", one, maxsplit=1)[0] for one in wanted}
    return sorted(names - {"headgate"})


@pytest.mark.parametrize("name", dependencies())
def test_dependency_is_explained(name: str) -> None:
    assert re.search(rf"\b{re.escape(name)}\b", PAGE.read_text()), f"{PAGE.name} does not say what {name} is for"


@pytest.mark.parametrize("extra", sorted(PROJECT["optional-dependencies"]))
def test_extra_is_listed(extra: str) -> None:
    assert f"| `{extra}` |" in PAGE.read_text()
