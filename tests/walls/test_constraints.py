"""The constraints pin everything that pyproject.toml asks for, by hash, from no named place."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def names(requirements: list[Any]) -> set[str]:
    """The normalised names (PEP 503) of a list of requirements; references to Headgate itself fall out."""
    plain = [re.split(r"[\s\[<>=!~;]", item, maxsplit=1)[0] for item in requirements if isinstance(item, str)]
    return {re.sub(r"[-_.]+", "-", name).lower() for name in plain} - {"headgate"}


def pins(name: str) -> dict[str, str]:
    """The pinned versions of a constraints file, by name; fails on a pin without a hash."""
    text = (ROOT / "constraints" / name).read_text()
    blocks = re.split(r"\n(?=[a-z0-9])", text.strip())
    assert [block for block in blocks if "--hash=sha256:" not in block] == []
    found = [re.match(r"([a-z0-9][a-z0-9._-]*)==(\S+)", block) for block in blocks]
    return {match[1]: match[2] for match in found if match}


def test_dev_pins_all_that_the_project_names() -> None:
    declared = project()
    wanted = names(declared["project"]["dependencies"])
    for extra in declared["project"]["optional-dependencies"].values():
        wanted |= names(extra)
    for group in declared["dependency-groups"].values():
        wanted |= names(group)
    assert wanted - set(pins("dev.txt")) == set(), "run `make constraints`"


def test_run_pins_base_and_flask_at_the_same_versions() -> None:
    declared = project()["project"]
    run, dev = pins("run.txt"), pins("dev.txt")
    wanted = names(declared["dependencies"]) | names(declared["optional-dependencies"]["flask"])
    assert wanted - set(run) == set(), "run `make constraints`"
    assert {name: version for name, version in run.items() if dev.get(name) != version} == {}


@pytest.mark.parametrize("name", ["run.txt", "dev.txt"])
def test_no_download_address(name: str) -> None:
    text = (ROOT / "constraints" / name).read_text()
    assert re.findall(r"\S*://\S*|--index-url.*|--find-links.*", text) == []
