"""What an acknowledged enqueue is worth on this server: read from its own words, told truthfully."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headgate.drivers.redis.address import Address


@dataclass(frozen=True, slots=True)
class Worth:
    """What a server promises."""

    words: str
    """In one sentence, for people."""
    warnings: tuple[str, ...]
    """What is to be changed, each with what to do."""


def facts_of(info: bytes | str) -> dict[str, str]:
    """INFO as a mapping."""
    text = info.decode(errors="replace") if isinstance(info, bytes) else info
    lines = (line.partition(":") for line in text.splitlines() if line and not line.startswith("#"))
    return {key: value.strip() for key, _, value in lines}


def worth(facts: Mapping[str, str], config: Mapping[str, str], address: Address) -> Worth:
    """Judge a server.

    Args:
        facts: its INFO.
        config: what CONFIG GET told; empty if it may not be asked.
        address: how it is reached; says how many replicas are waited for.
    """
    warnings: list[str] = []
    sentence = _persistence(facts, config, warnings)
    if address.wait_replicas:
        sentence += f"; and {address.wait_replicas} replica(s) have it in memory"
        there = int(facts.get("connected_slaves", "0") or 0)
        if there < address.wait_replicas:
            warnings.append(
                f"wait_replicas is {address.wait_replicas} and the server has {there} replica(s): every enqueue will "
                "be refused as not replicated. Connect replicas, or lower wait_replicas"
            )
    elif int(facts.get("connected_slaves", "0") or 0) or address.kind != "single":
        sentence += "; a fail-over can lose what its replica had not yet, unless wait_replicas is set"
    _memory(facts, config, warnings)
    return Worth(sentence, tuple(warnings))


def _persistence(facts: Mapping[str, str], config: Mapping[str, str], warnings: list[str]) -> str:
    if facts.get("aof_enabled") == "1":
        sync = config.get("appendfsync", "everysec")
        if facts.get("aof_last_write_status", "ok") != "ok":
            warnings.append("the server cannot write its append-only file (aof_last_write_status); free its disk")
        return {
            "always": "an acknowledged job is on the server's disk",
            "no": "an acknowledged job is written when the system likes: a power cut can lose half a minute",
        }.get(sync, "an acknowledged job survives a crash of Redis; a power cut can lose the last second")
    saves = config.get("save", "")
    if saves:
        warnings.append("the server has snapshots only: set appendonly yes (and appendfsync everysec or always)")
        return "a restart of Redis loses all jobs since its last snapshot"
    warnings.append("the server keeps nothing on disk: set appendonly yes (and appendfsync everysec or always)")
    return "a restart of Redis loses all jobs"


def _memory(facts: Mapping[str, str], config: Mapping[str, str], warnings: list[str]) -> None:
    policy = facts.get("maxmemory_policy") or config.get("maxmemory-policy", "")
    if policy.startswith("allkeys"):
        warnings.append(
            f"maxmemory-policy is {policy}: when its memory is full, the server throws jobs away without a word. "
            "Set maxmemory-policy noeviction"
        )


def told(facts: Mapping[str, str]) -> str:
    """The server's name and version."""
    if facts.get("server_name") == "valkey" or "valkey_version" in facts:
        return f"Valkey {facts.get('valkey_version', '?')}"
    return f"Redis {facts.get('redis_version', '?')}"
