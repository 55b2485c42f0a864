"""Pools that fit the server, are not inherited, and tell what they wait for."""

from __future__ import annotations

import multiprocessing
import threading
import urllib.request
from typing import Any

import pytest
import sqlalchemy as sa

from headgate import bulk
from headgate.base.jobcontext import working
from headgate.bulk.pool import PROCESSES, MeasuredPool, stats
from tests.bulk.conftest import Store
from tests.support.fixtures import StartHeadgate
from tests.support.wait import until

servers = pytest.mark.parametrize("store", ["postgresql", "mariadb"], indirect=True)


def allowed(store: Store) -> int:
    query = "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    with store.engine.connect() as connection:
        return int(connection.execute(sa.text(query if store.postgres else "SELECT @@max_connections")).scalar_one())


@servers
def test_a_pool_takes_its_share(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    free = allowed(store)
    assert size_of(bulk.pool(store.engine.url, processes=1)) == 10
    assert size_of(bulk.pool(store.engine.url, processes=free // 4)) == 3
    monkeypatch.setenv(PROCESSES, str(free // 2))
    assert size_of(bulk.pool(store.engine.url)) == 1


def size_of(engine: sa.Engine) -> int:
    assert isinstance(engine.pool, MeasuredPool)
    return engine.pool.size()


@servers
def test_a_pool_that_cannot_fit_shows_the_arithmetic(store: Store) -> None:
    free = allowed(store)
    with pytest.raises(bulk.PoolTooLarge, match=rf"12 processes × 50 connections = 600.*= {free} \(max_connections\)"):
        bulk.pool(store.engine.url, processes=12, size=50)
    with pytest.raises(bulk.PoolTooLarge, match="need a connection each"):
        bulk.pool(store.engine.url, processes=free + 1)


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_the_roles_own_limit_counts(store: Store) -> None:
    store.run("CREATE ROLE narrow LOGIN CONNECTION LIMIT 4")
    try:
        with pytest.raises(bulk.PoolTooLarge, match="the role's limit"):
            bulk.pool(store.engine.url.set(username="narrow"), processes=3, size=2)
    finally:
        store.run("DROP ROLE narrow")


def test_a_server_that_is_away_does_not_keep_an_app_from_booting() -> None:
    engine = bulk.pool("postgresql+psycopg://nobody@127.0.0.1:1/none", processes=100, size=100)
    assert size_of(engine) == 100


@servers
def test_a_full_pool_tells_how_long_was_waited(store: Store) -> None:
    engine = bulk.pool(store.engine.url, size=1, timeout=0.1, name="full")
    with engine.connect() as held:
        with pytest.raises(bulk.PoolTimeout, match="all 1 connections"):
            engine.connect()
        told = stats()["full"]
        assert (told["size"], told["in_use"], told["timeouts"]) == (1, 1, 1)
        assert told["wait_p99_ms"] >= 100
        assert held.execute(sa.text("SELECT 1")).scalar_one() == 1
    engine.dispose()


@servers
def test_a_dead_connection_is_replaced(store: Store) -> None:
    from tests.bulk.test_restart import cut_connections

    engine = bulk.pool(store.engine.url, size=2)
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
    cut_connections(store)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT 2")).scalar_one() == 2
    engine.dispose()


def ask(engine: sa.Engine, number: int, found: Any) -> None:
    """In a forked child: many answers, each of which must be this child's own."""
    for turn in range(100):
        with engine.connect() as connection:
            wanted = number * 1000 + turn
            if connection.execute(sa.text("SELECT :n"), {"n": wanted}).scalar_one() != wanted:
                found.put(f"child {number} got another's row")
                return
    found.put("own rows")


@servers
def test_a_fork_opens_connections_of_its_own(store: Store) -> None:
    engine = bulk.pool(store.engine.url, size=2)
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
    fork = multiprocessing.get_context("fork")
    found = fork.Queue()
    children = [fork.Process(target=ask, args=(engine, number, found)) for number in range(3)]
    for child in children:
        child.start()
    assert [found.get(timeout=30) for _ in children] == ["own rows"] * 3
    for child in children:
        child.join(30)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT 3")).scalar_one() == 3
    engine.dispose()


def test_slow_and_repeated_statements_are_told_with_their_handler(store: Store) -> None:
    engine = bulk.pool(store.engine.url, slow=0.0, repeated=5, name="told")
    seen: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda c, cur, statement, *rest: seen.append(statement))
    with working("GET /orders/<id>; DROP */"), engine.connect() as connection:
        for number in range(7):
            connection.execute(sa.text("SELECT :n + 0"), {"n": number})
    with working("GET /other"), engine.connect() as connection:
        connection.execute(sa.text("SELECT :n + 0"), {"n": 1})
    told = stats()["told"]
    assert any(statement.endswith("/* GET /orders/<id> DROP / */") for statement in seen)
    assert [(each["handler"][:13], each["times"], each["in_one"]) for each in told["repeated"]] == [
        ("GET /orders/<", 1, 7)
    ]
    assert {each["handler"] for each in told["slow"]} >= {"GET /other"}
    assert told["statements"] >= 8
    engine.dispose()


def test_a_failed_statement_does_not_confuse_the_times(store: Store) -> None:
    engine = bulk.pool(store.engine.url, name="failed")
    with engine.connect() as connection:
        with pytest.raises(sa.exc.DBAPIError):
            connection.execute(sa.text("SELECT nothing FROM nowhere"))
        connection.rollback()
        assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1
    engine.dispose()


def test_threads_share_a_pool(store: Store) -> None:
    engine = bulk.pool(store.engine.url, size=2, timeout=30)
    answers: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            with engine.connect() as connection:
                answers.append(connection.execute(sa.text("SELECT :n"), {"n": number}).scalar_one())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(answers) == sorted(list(range(6)) * 20)
    engine.dispose()


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
@pytest.mark.parametrize("wrong", [{"user": "nobody"}, {"dbname": "nowhere"}])
def test_a_refused_connection_is_told_at_once(store: Store, wrong: dict[str, str]) -> None:
    engine = sa.create_engine(store.engine.url, connect_args=wrong, poolclass=sa.NullPool)
    tries: list[str] = []

    def count(*_: Any) -> None:
        tries.append("a try")

    sa.event.listen(engine, "do_connect", count)
    with pytest.raises(bulk.WrongTarget, match=r"does not exist.*correct the URL"):
        bulk.insert("items", [{"id": 1}], on=engine)
    assert tries == ["a try"], "another one changes nothing"


APP = """
import os
import flask
import headgate
import sqlalchemy as sa

app = flask.Flask(__name__)
engine = headgate.pool(os.environ["DATABASE_URL"], name="shop", repeated=3)

@app.get("/orders")
def orders():
    with engine.connect() as connection:
        for _ in range(4):
            connection.execute(sa.text("SELECT 1"))
    return {"processes": os.environ.get("HEADGATE_PROCESSES")}
"""


def test_status_tells_of_the_pools_of_a_hosted_app(postgres_url: str, headgate_server: StartHeadgate) -> None:
    url = postgres_url.replace("postgresql:", "postgresql+psycopg:")
    server = headgate_server(APP, env={"DATABASE_URL": url})
    with urllib.request.urlopen(f"{server.url}/orders") as answer:
        answer.read()

    def told() -> list[dict[str, Any]]:
        pools = [process.get("stats", {}).get("pools") for process in server.status()["processes"]]
        return [pool["shop"] for pool in pools if pool and pool["shop"]["repeated"]]

    (pool,) = until(told, "the pool's facts")
    assert pool["statements"] >= 4
    assert pool["repeated"] == [{"handler": "GET /orders", "statement": "SELECT 1", "times": 1, "in_one": 4}]
