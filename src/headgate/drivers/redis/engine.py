"""Redis or Valkey as an engine: the ports of the embedded one over another caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from redis.exceptions import RedisError

from headgate.base.clock import Clock
from headgate.base.errors import HeadgateError
from headgate.base.model import Claim, Cron
from headgate.drivers.embedded.client import PortsEngine
from headgate.drivers.local.store import Limits
from headgate.drivers.redis import durability
from headgate.drivers.redis.address import parse
from headgate.drivers.redis.caller import RedisCaller
from headgate.drivers.redis.durability import Worth
from headgate.drivers.redis.outgoing import Send
from headgate.drivers.redis.records import pack
from headgate.drivers.redis.upkeep import Member


class RedisEngine(PortsEngine):
    """An engine that any number of machines share.

    Args:
        url: where it is; see `address.parse`.
        limits: bounds and times.
        wait_replicas: how many replicas must have a job before `put` returns; the URL may say otherwise.
        clock: for tests: turns the time for the server as well.
        member: name and facts under which this process is listed with all others.
    """

    def __init__(
        self,
        url: str,
        *,
        limits: Limits | None = None,
        wait_replicas: int = 0,
        clock: Clock | None = None,
        member: Member | None = None,
    ) -> None:
        self._redis = RedisCaller(parse(url, wait_replicas), limits or Limits(), clock, member)
        super().__init__(self._redis)

    def carry(self, carrier: str, send: Send) -> None:
        """Say how tickets of a carrier ("rq", "celery") are sent from here; `send` may block, it runs in a thread."""
        self._redis.carry(carrier, send)

    def refuse(self, carriers: Mapping[str, str]) -> None:
        """Refuse jobs for carriers that nobody could hand them to, with the reason of each."""
        self._redis.parts.refused.update(carriers)

    async def claim_one(self, worker: str, job: str) -> Claim | None:
        """Claim the carried job whose ticket came; None if it is not to be run, or not now."""
        return await self._redis.claim_one(worker, job)

    async def run(self, operation: str, arguments: Any) -> Any:
        """An operation of the scripts, for what is not in the ports."""
        return await self._redis.run(operation, arguments)

    async def restore_crons(self, crons: Sequence[tuple[str, Cron, float]]) -> None:
        """Take over crons of other owners with their next moments."""
        owners: dict[str, list[Any]] = {}
        for owner, one, at in crons:
            owners.setdefault(owner, [owner]).extend((one.name, pack(one), at, f"{one.expression}\0{one.zone}"))
        for flat in owners.values():
            await self._redis.run("set_crons", flat)

    @property
    def resting(self) -> bool:
        """Upkeep waits for its time, and nothing else is under way."""
        return self._redis.parts.upkeep.resting and not self._redis.link.busy

    async def worth(self) -> Worth:
        """What an acknowledged enqueue is worth on this server, as it is configured now."""
        link = self._redis.link
        return durability.worth(link.facts, await self._config(), self._redis.parts.address)

    async def members(self, age: float = 5.0) -> list[tuple[str, bytes, float]]:
        """Processes that were heard of within `age` seconds, on all machines: name, facts, seconds ago."""
        said = await self._redis.run("members", [age])
        rows = zip(said[::3], said[1::3], said[2::3], strict=True)
        return sorted((name.decode(), facts, float(ago)) for name, facts, ago in rows)

    async def facts(self) -> Mapping[str, Any]:
        worth = await self.worth()
        own = {
            "server": durability.told(self._redis.link.facts),
            "worth": worth.words,
            "warnings": list(worth.warnings),
        }
        return {**await super().facts(), **own}

    async def _config(self) -> dict[str, str]:
        try:
            said = await self._redis.link.ask("CONFIG", "GET", "*")
        except (HeadgateError, RedisError):
            return {}  # managed servers hide it
        return {key.decode(): value.decode(errors="replace") for key, value in said.items()}
