"""The account of the settings, and the page that is made from their declarations."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.base.errors import ConfigError
from headgate.config.address import Tcp, Unix, check_length, parse
from headgate.config.app import check
from headgate.config.explain import HIDDEN, explain, reference, written
from headgate.config.load import load
from headgate.config.settings import DECLARED, Unit

ROOT = Path(__file__).resolve().parents[3]


def test_each_setting_tells_its_value_and_its_origin(tmp_path: Path) -> None:
    lines = {line.key: line for line in explain(load({"threads": "3"}, folder=tmp_path, environ={}))}
    assert set(lines) == set(DECLARED)
    assert (lines["threads"].value, lines["threads"].origin) == ("3", "flag --threads")
    assert (lines["max_body"].value, lines["max_body"].origin) == ("64 MiB", "default")


def test_a_secret_is_hidden_and_an_absent_one_is_not(tmp_path: Path) -> None:
    environ = {"HEADGATE_SECRET": "open sesame"}
    hidden = {line.key: line.value for line in explain(load(folder=tmp_path, environ=environ))}
    absent = {line.key: line.value for line in explain(load(folder=tmp_path, environ={}))}
    assert (hidden["secret"], absent["secret"]) == (HIDDEN, '""')


def test_values_are_written_as_in_toml() -> None:
    assert written(True) == "true"
    assert written(0.5, Unit.SECONDS) == "0.5 s"
    assert written(1500, Unit.BYTES) == "1500 bytes"
    assert written({"GET /": "slow"}) == '{"GET /" = "slow"}'
    assert written(("a", "b")) == '["a", "b"]'


def test_the_reference_page_is_what_the_declarations_say() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text()
    assert page == reference(), "run: headgate config --reference > docs/reference/settings.md"


def test_every_setting_is_on_the_page_with_its_variable() -> None:
    page = reference()
    for declared in DECLARED.values():
        assert f"### `{declared.key}`" in page
        assert f"`{declared.variable}`" in page


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", Tcp("127.0.0.1", 8000)),
        ("localhost:0", Tcp("localhost", 0)),
        (":80", Tcp("0.0.0.0", 80)),
        ("[::1]:8000", Tcp("::1", 8000)),
        ("unix:/run/a.sock", Unix("/run/a.sock")),
    ],
)
def test_addresses(text: str, address: Tcp | Unix) -> None:
    assert parse(text) == address
    assert parse(str(address)) == address


@pytest.mark.parametrize("text", ["", "8000", "localhost", "a:b", "a:", "a:-1", "a:65536", "::1:80", "a:８０", "unix:"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match="bind"):
        parse(text)


def test_a_socket_path_that_is_too_long_says_by_how_much() -> None:
    with pytest.raises(ConfigError, match=r"has 108 bytes; the system allows 107 for a Unix socket: move it\."):
        check_length("/" + "é" * 53 + "x", "move it")


@pytest.mark.parametrize("address", ["app:app", "shop.web:create_app()", "shop", "a:b.c", "módulo:app"])
def test_app_addresses(address: str) -> None:
    check(address)


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("", "No app was named. Write headgate run app:app"),
        ("shop/web.py", '"shop/web.py" is a file. Name the module and the app in it: headgate run shop.web:app'),
        ("web.py", "headgate run web:app"),
        ("web:make(1)", "a factory is called without arguments"),
        ("web:", 'Write "module:attribute"'),
        ("my-app:app", 'Write "module:attribute"'),
    ],
)
def test_what_is_no_app_address_is_told_how_to_write_one(address: str, advice: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as told:
        check(address, tmp_path)
    assert advice in str(told.value)


def test_no_app_named_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "wsgi.py").touch()
    with pytest.raises(ConfigError, match=r"Here is wsgi\.py: try headgate run wsgi:app"):
        check("", tmp_path)
