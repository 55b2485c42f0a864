"""Every rule on a deployment that it is about, and on one in which all is well."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.doctor import gather
from headgate.doctor.examine import Examination, examine
from headgate.doctor.reference import reference
from headgate.doctor.rules import RULES
from tests.doctor.deployments import HITS_AND_MISSES, Files


def examined(files: Files, folder: Path) -> Examination:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    live = folder / "root"
    looked = [path for path in sorted(folder.iterdir()) if path != live]
    case = gather.folders(looked)
    if live.is_dir():
        gather.live(case, live)
    return examine(case, base=folder)


def test_every_rule_is_tested() -> None:
    assert set(HITS_AND_MISSES) == set(RULES)


@pytest.mark.parametrize("rule", HITS_AND_MISSES)
def test_a_hit(rule: str, tmp_path: Path) -> None:
    found = [found for found in examined(HITS_AND_MISSES[rule][0], tmp_path).findings if found.rule == rule]
    assert found, f"{rule} finds nothing"
    assert found[0].message
    assert found[0].places[0].path


@pytest.mark.parametrize("rule", HITS_AND_MISSES)
def test_a_miss(rule: str, tmp_path: Path) -> None:
    found = [found for found in examined(HITS_AND_MISSES[rule][1], tmp_path).findings if found.rule == rule]
    assert not found


def test_the_reference_page_is_what_the_rules_say() -> None:
    page = Path(__file__).resolve().parents[2] / "docs/reference/doctor-rules.md"
    assert page.read_text() == reference(), "run: headgate doctor --reference > docs/reference/doctor-rules.md"
