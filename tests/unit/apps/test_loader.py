"""Finding the app, and what is said when it cannot be found."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.apps.loader import load
from headgate.base.errors import ConfigError

DESK = """
def app(environ, start_response): ...
def create_app(name="desk"): return app
def needy(name): ...
async def asgi(scope, receive, send): ...
class Asgi:
    async def __call__(self, scope, receive, send): ...
class Wsgi:
    def __call__(self, environ, start_response): ...
holder = Wsgi()
holder.inner = Wsgi()
other = Asgi()
number = 7
def leaves(): import sys; sys.exit("no configuration")
def made_of_nothing(): return None
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "deskapp.py").write_text(DESK)
    (tmp_path / "exiting.py").write_text("import sys\n\nsys.exit(4)\n")
    (tmp_path / "broken.py").write_text("import there_is_no_such_thing\n")
    (tmp_path / "raising.py").write_text("raise RuntimeError('boom')\n")
    (tmp_path / "factory.py").write_text("def create_app(): return lambda environ, start: []\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("deskapp", "exiting", "broken", "raising", "factory"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("address", "interface"),
    [
        ("deskapp:app", "wsgi"),
        ("deskapp", "wsgi"),
        ("deskapp:create_app()", "wsgi"),
        ("deskapp:holder", "wsgi"),
        ("deskapp:holder.inner", "wsgi"),
        ("deskapp:asgi", "asgi"),
        ("deskapp:other", "asgi"),
    ],
)
def test_an_app_is_found_with_its_interface(address: str, interface: str) -> None:
    assert load(address).interface == interface


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("", ["no app is named", "module:attribute"]),
        ("nothere:app", ["no module 'nothere'", "start in the folder"]),
        ("deskap:app", ["no module 'deskap'", "did you mean 'deskapp'?"]),
        ("deskapp.py:app", ["not a file: deskapp:app"]),
        ("deskapp.app", ["if 'app' is the app in the module 'deskapp', write deskapp:app"]),
        ("deskapp:ap", ["no attribute 'ap'", "did you mean 'app'?"]),
        ("deskapp:qqq", ["no attribute 'qqq'", "did you mean 'app'?"]),
        ("factory", ["no attribute 'app'", "factory:create_app()"]),
        ("deskapp:number", ["is of the type int, which is no app"]),
        ("deskapp:number()", ["cannot be called"]),
        ("deskapp:needy()", ["must need no arguments", "'name'"]),
        ("deskapp:needy", ["(environ, start_response)", "write deskapp:needy()"]),
        ("deskapp:leaves()", ["ends the process", "no configuration", "deskapp.py"]),
        ("deskapp:made_of_nothing()", ["NoneType"]),
        ("exiting:app", ["ends the process", "sys.exit(4)", "exiting.py, line 3", "__main__"]),
    ],
)
def test_what_is_wrong_is_said(address: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(address)
    assert [part for part in parts if part not in str(caught.value)] == [], str(caught.value)


def test_what_the_app_raises_comes_through() -> None:
    with pytest.raises(ModuleNotFoundError, match="there_is_no_such_thing"):
        load("broken:app")
    with pytest.raises(RuntimeError, match="boom"):
        load("raising:app")
