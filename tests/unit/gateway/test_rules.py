from __future__ import annotations

import pytest

from headgate.gateway.rules import LEARNED, Rules

RULES = Rules(
    [
        ("GET /", "/"),
        ("GET /orders", "/orders"),
        ("POST /orders", "/orders"),
        ("GET /orders/<int:id>", "/orders/<int:id>"),
        ("GET /orders/<name>", "/orders/<name>"),
        ("GET /files/<path:name>", "/files/<path:name>"),
        ("GET /a/<any(x, y):kind>/b", "/a/<any(x, y):kind>/b"),
        ("ws /updates/<room>", "/updates/<room>"),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "handler"),
    [
        ("GET", "/", "GET /"),
        ("POST", "/orders", "POST /orders"),
        ("PUT", "/orders", "PUT *"),
        ("HEAD", "/orders", "GET /orders"),
        ("GET", "/orders/17", "GET /orders/<int:id>"),
        ("GET", "/orders/green", "GET /orders/<name>"),
        ("GET", "/orders/17/lines", "GET *"),
        ("GET", "/files/a/b/c.txt", "GET /files/<path:name>"),
        ("GET", "/a/x/b", "GET /a/<any(x, y):kind>/b"),
        ("GET", "/ORDERS", "GET *"),
        ("ws", "/updates/7", "ws /updates/<room>"),
        ("ws", "/orders", "ws *"),
    ],
)
def test_a_path_finds_its_rule(method: str, path: str, handler: str) -> None:
    assert RULES.handler(method, path) == handler


def test_what_an_app_worker_told_is_remembered_for_so_many_paths() -> None:
    rules = Rules()
    assert rules.handler("GET", "/x") == "GET *"
    rules.told("GET", "/x", "GET /{name}")
    assert rules.handler("GET", "/x") == "GET /{name}"
    for number in range(LEARNED):
        rules.told("GET", f"/{number}", "GET /{name}")
    assert rules.handler("GET", "/x") == "GET *"


def test_a_rule_is_no_pattern() -> None:
    rules = Rules([("GET /a.b(<name>)", "/a.b(<name>)")])
    assert rules.handler("GET", "/a.b(x)") == "GET /a.b(<name>)"
    assert rules.handler("GET", "/axb(x)") == "GET *"
