"""Which handler a request belongs to, whatever its Host says."""

from __future__ import annotations

import flask
import pytest

from headgate.apps.routes import FlaskRoutes

BAD_HOSTS = ["a..example", "x" * 64 + ".example", ".", "\udcff", "a b", "xn--a", "[::1", "a/b", ""]


def by_host() -> flask.Flask:
    app = flask.Flask(__name__, host_matching=True, static_host="static.example")
    app.add_url_rule("/", host="shop.example", endpoint="shop", view_func=lambda: "shop")
    return app


def by_subdomain() -> flask.Flask:
    app = flask.Flask(__name__, subdomain_matching=True)
    app.config["SERVER_NAME"] = "shop.example"
    app.add_url_rule("/", subdomain="api", endpoint="api", view_func=lambda: "api")
    return app


def plain() -> flask.Flask:
    app = flask.Flask(__name__)
    app.add_url_rule("/", endpoint="home", view_func=lambda: "home")
    return app


@pytest.mark.parametrize("host", BAD_HOSTS)
@pytest.mark.parametrize("make", [by_host, by_subdomain])
def test_a_host_that_werkzeug_refuses_is_no_error_of_ours(host: str, make: object) -> None:
    assert callable(make)
    routes = FlaskRoutes(make())
    assert routes.request("GET", "/", host).handler == "GET *"
    assert routes.websocket("/", host).handler == "ws *"


def test_a_good_host_decides_and_a_bad_one_does_not_matter_where_hosts_do_not() -> None:
    assert FlaskRoutes(by_host()).request("GET", "/", "shop.example").handler == "GET /"
    assert FlaskRoutes(by_subdomain()).request("GET", "/", "api.shop.example").handler == "GET /"
    assert FlaskRoutes(plain()).request("GET", "/", "a..example").handler == "GET /"
