"""Addresses of a Redis, and what its own words are worth."""

from __future__ import annotations

import pytest

from headgate.base.errors import ConfigError
from headgate.drivers.redis.address import parse
from headgate.drivers.redis.durability import facts_of, told, worth


def test_a_single_server() -> None:
    address = parse("redis://ada:p%40ss@db.example:7000/3?namespace=shop&wait_replicas=2")
    assert (address.kind, address.hosts, address.tls) == ("single", (("db.example", 7000),), False)
    assert (address.options["username"], address.options["password"], address.options["db"]) == ("ada", "p@ss", 3)
    assert (address.namespace, address.wait_replicas) == ("shop", 2)
    assert "p%40ss" not in address.shown
    assert "p@ss" not in address.shown


def test_what_is_left_out_is_usual() -> None:
    address = parse("redis://")
    assert (address.hosts, address.options.get("db", 0), address.namespace) == ((("localhost", 6379),), 0, "headgate")
    assert parse("redis://[::1]:7001").hosts == (("::1", 7001),)


def test_with_tls() -> None:
    for scheme in ("rediss", "valkeys"):
        address = parse(f"{scheme}://h:1?ssl_ca_certs=/ca.pem")
        assert address.tls
        assert address.options["ssl_ca_certs"] == "/ca.pem"


def test_sentinels_and_clusters() -> None:
    address = parse("redis+sentinel://:secret@a:1,b/main/2?sentinel_password=other")
    assert (address.kind, address.hosts, address.master) == ("sentinel", (("a", 1), ("b", 26379)), "main")
    assert (address.options["password"], address.options["db"]) == ("secret", 2)
    assert address.sentinel == {"username": None, "password": "other"}
    address = parse("rediss+cluster://a:1,b:2,c:3")
    assert (address.kind, len(address.hosts), address.tls) == ("cluster", 3, True)


def test_a_unix_socket() -> None:
    address = parse("redis+unix:///run/redis.sock")
    assert address.options["path"] == "/run/redis.sock"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis+sentinel://a:1", "name of the master"),
        ("redis+cluster://a:1/2", "only database 0"),
        ("redis+ring://a:1", "not known"),
        ("redis://a:port", "no address"),
        ("redis://a?wait_timeout=5", "wait_timeout is 5 s"),
        ("redis://a?wait_timeout=0", "wait_timeout is 0 s"),
        ("redis://a?wait_timeout=nan", "wait_timeout is nan s"),
    ],
)
def test_what_cannot_be_understood(url: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse(url)


INFO = "# Server\r\nredis_version:7.0.15\r\naof_enabled:{aof}\r\nconnected_slaves:{replicas}\r\n{more}"


def judged(
    config: dict[str, str], url: str = "redis://", aof: int = 1, replicas: int = 0, more: str = ""
) -> tuple[str, str]:
    facts = facts_of(INFO.format(aof=aof, replicas=replicas, more=more).encode())
    found = worth(facts, config, parse(url))
    return found.words, " | ".join(found.warnings)


def test_each_kind_of_persistence_is_told_as_it_is() -> None:
    assert "on the server's disk" in judged({"appendfsync": "always"})[0]
    words, warnings = judged({"appendfsync": "everysec"})
    assert "last second" in words
    assert warnings == ""
    assert "half a minute" in judged({"appendfsync": "no"})[0]
    words, warnings = judged({"save": "3600 1"}, aof=0)
    assert "last snapshot" in words
    assert "appendonly yes" in warnings
    words, warnings = judged({"save": ""}, aof=0)
    assert "loses all jobs" in words
    assert "nothing on disk" in warnings


def test_replicas_count_only_if_they_are_waited_for() -> None:
    assert "can lose" in judged({"appendfsync": "always"}, replicas=1)[0]
    words, warnings = judged({"appendfsync": "always"}, "redis://?wait_replicas=2", replicas=1)
    assert "2 replica(s) have it" in words
    assert "has 1 replica" in warnings


def test_a_policy_that_throws_jobs_away_is_named() -> None:
    assert "allkeys-lru" in judged({}, more="maxmemory_policy:allkeys-lru\r\n")[1]
    assert judged({}, more="maxmemory_policy:noeviction\r\n")[1] == ""
    assert judged({}, more="maxmemory_policy:volatile-lru\r\n")[1] == ""


def test_valkey_is_called_by_its_name() -> None:
    assert told({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "8.1.0"}) == "Valkey 8.1.0"
