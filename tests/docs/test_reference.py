"""The reference pages name all that there is: options, members, wire words. What is added must be written down."""

from __future__ import annotations

import inspect
import re

import pytest

from headgate.declare.context import JobContext
from headgate.declare.extension import Headgate
from headgate.declare.handle import JobHandle
from headgate.declare.job import JobFunction, JobOptions
from headgate.declare.socket import Socket
from headgate.gateway import codes
from tests.docs.pages import ROOT

JOBS = (ROOT / "docs/reference/jobs-api.md").read_text()
SOCKETS = (ROOT / "docs/reference/sockets-wire.md").read_text()
ALL = JOBS + SOCKETS + (ROOT / "docs/reference/http.md").read_text()

NOT_FOR_USERS = {
    "app",
    "arguments",
    "batching",
    "call",
    "call_together",
    "declared",
    "gives_up",
    "init_app",
    "name",
    "origin",
    "spec",
    "together",
}
"""What Headgate's own parts call, or what every Flask extension has."""


def members(kind: type) -> list[str]:
    """The public methods, properties and slots of a class, and what its `__init__` sets."""
    names = {name for name in vars(kind) if not name.startswith("_")}
    if made := vars(kind).get("__init__"):
        names |= set(re.findall(r"^\s+self\.([a-z]\w*)(?::[^=\n]+)? =", inspect.getsource(made), re.MULTILINE))
    return sorted(names - NOT_FOR_USERS)


def code_words(page: str) -> set[str]:
    """Every identifier that stands in code, in the text or in a block."""
    code = re.findall(r"`([^`\n]+)`", page) + re.findall(r"```.*?\n(.*?)```", page, re.DOTALL)
    return {word for piece in code for word in re.findall(r"[a-z_]+", piece)}


@pytest.mark.parametrize("option", JobOptions.__struct_fields__)
def test_job_options_are_in_the_table(option: str) -> None:
    assert re.search(rf"^\|[^|]*`{option}`[^|]*\|", JOBS, re.MULTILINE), f"`{option}` has no row"


@pytest.mark.parametrize("kind", [JobContext, JobHandle, JobFunction, Socket, Headgate], ids=lambda kind: kind.__name__)
def test_members_are_named(kind: type) -> None:
    assert [name for name in members(kind) if name not in code_words(ALL)] == []


def test_close_codes_are_in_the_table() -> None:
    told = {int(code) for code in re.findall(r"^\| (\d{4}) \|", SOCKETS, re.MULTILINE)}
    sent = {value for name, value in vars(codes).items() if name.isupper() and isinstance(value, int)}
    silent = {codes.ABNORMAL, codes.NO_CODE, codes.GOING_AWAY}
    assert sorted(sent - silent - told) == []
