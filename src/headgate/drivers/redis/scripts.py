"""The server-side scripts: one Lua source, run as a function library where the server has those, else by its digest."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Any, Final

from redis.exceptions import (
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from headgate.base.errors import ConfigError, Unavailable
from headgate.drivers.redis import packing
from headgate.drivers.redis.line import Line

OLDEST: Final = (6, 2)
"""The oldest Redis whose commands we use."""

STRICT: Final = frozenset(
    {"put", "move_cron", "set_crons", "set_rules", "write", "make", "restore_job", "restore_stream"}
)
"""Operations that are refused when the server's memory is full. All others end work and free room, or only look."""

LOOKS: Final = frozenset(
    {"now", "get", "find", "standing", "holdings", "stats", "rules", "crons", "see", "read", "appended", "publish"}
)
"""Operations that write nothing."""


def _source() -> str:
    folder = resources.files("headgate.drivers.redis") / "lua"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".lua")), key=lambda file: file.name)
    return "".join(file.read_text("utf-8") for file in files)


SOURCE: Final = _source()
DIGEST: Final = hashlib.sha1(SOURCE.encode(), usedforsecurity=False).hexdigest()[:12]
"""Names the library: two versions of Headgate at once on one server do not disturb each other."""

_LIBRARY: Final = f"""#!lua name=headgate_{DIGEST}
{SOURCE}
redis.register_function('headgate_{DIGEST}', serve)
redis.register_function{{function_name = 'headgate_{DIGEST}_full', callback = serve, flags = {{'allow-oom'}}}}
"""
_REFUSABLE: Final = ", ".join(f"{name} = true" for name in sorted(STRICT | LOOKS))
_SCRIPT: Final = f"""{SOURCE}
local refusable = {{{_REFUSABLE}}}
-- A full server refuses a script's first write if that may need memory, and none after it. No key has this name.
if not refusable[ARGV[1]] then redis.call('DEL', KEYS[1]) end
return serve(KEYS, ARGV)
"""
_SHA: Final = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()


_REFUSALS: Final[dict[str, type[RedisError]]] = {
    "OOM": OutOfMemoryError,
    "READONLY": ReadOnlyError,
    "MASTERDOWN": MasterDownError,
    "CLUSTERDOWN": ClusterDownError,
    "NOPERM": NoPermissionError,
}


class Scripts:
    """How this server runs them. Found out anew for each connection: a restart or fail-over may have changed it."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._functions = True
        self._publish = "PUBLISH"

    async def prepare(self, line: Line, facts: dict[str, str]) -> None:
        """Load them.

        Args:
            line: the fresh connection.
            facts: INFO of the server.

        Raises:
            ConfigError: the server is too old, or our user may not load scripts.
        """
        version = version_of(facts)
        if version < OLDEST:
            raise ConfigError(
                f"this Redis is version {facts.get('redis_version')}; Headgate needs at least "
                f"{'.'.join(map(str, OLDEST))}, or Valkey 7.2"
            )
        self._publish = "SPUBLISH" if version >= (7, 0) and facts.get("redis_mode") == "cluster" else "PUBLISH"
        self._functions = version >= (7, 0) and await self._load_functions(line)
        if not self._functions:
            await self._load_script(line)
        await self._try_rights(line)

    async def _try_rights(self, line: Line) -> None:
        """Do what needs rights: those that are missing are to be told of now, not with the first job."""
        channel = f"{self._prefix}>".encode()
        for wanted in (True, False):
            await line.listen(self.listening(wanted), [channel])
        await line.call(*self.command("publish", "", packing.arguments(["", b""])))

    def listening(self, wanted: bool) -> str:
        """The command by which channels are heard, or no longer."""
        return f"{'S' if self.sharded else ''}{'' if wanted else 'UN'}SUBSCRIBE"

    @property
    def sharded(self) -> bool:
        """Whether channels belong to the server that has our slot (a cluster of 7.0 or newer)."""
        return self._publish == "SPUBLISH"

    @property
    def kind(self) -> str:
        return "functions" if self._functions else "scripts"

    def command(self, operation: str, now: str, arguments: bytes) -> tuple[Any, ...]:
        """The command that runs an operation."""
        if self._functions:
            return self._function(operation, now, arguments)
        return ("EVALSHA", _SHA, 1, self._prefix, operation, now, self._publish, arguments)

    def _function(self, operation: str, now: str, arguments: bytes) -> tuple[Any, ...]:
        name = f"headgate_{DIGEST}{'' if operation in STRICT else '_full'}"
        return ("FCALL", name, 1, self._prefix, operation, now, self._publish, arguments)

    async def _load_functions(self, line: Line) -> bool:
        """Whether functions are there now; False where they cannot be had, and scripts are to be used."""
        try:
            # Asked first: a server that is full runs what is loaded, but takes no FUNCTION LOAD, not even of the same.
            await line.call(*self._function("now", "", b"\x90"))
        except NoPermissionError:
            return False
        except ResponseError as exc:
            if "unknown command" in str(exc).lower():
                return False
            if not missing(exc):
                raise
        else:
            return True
        try:
            await line.call("FUNCTION", "LOAD", "REPLACE", _LIBRARY)
        except NoPermissionError:
            return False
        except ResponseError as exc:
            raise Unavailable(f"the server does not take Headgate's functions: {exc}") from exc
        return True

    async def _load_script(self, line: Line) -> None:
        try:
            await line.call("SCRIPT", "LOAD", _SCRIPT)
        except NoPermissionError as exc:
            raise ConfigError(
                f"the Redis user may not load scripts: {exc}. Give it ~{self._prefix}* &{self._prefix}* "
                "+@read +@write +@scripting +@pubsub +@connection +info +time"
            ) from exc


def unwrapped(error: RedisError) -> RedisError:
    """What a command of a script was refused for: up to 6.2 it stands inside of an error of the script."""
    said = str(error)
    if type(error) is not ResponseError or "script" not in said:
        return error
    return next((kind(said) for code, kind in _REFUSALS.items() if f"-{code} " in said), error)


def missing(error: Exception) -> bool:
    """Whether the server does not know our scripts any more (a flush, a restart without persistence)."""
    return isinstance(error, NoScriptError) or "function not found" in str(error).lower()


def version_of(facts: dict[str, str]) -> tuple[int, int]:
    """The server's version; Valkey tells the Redis version that it is compatible with (7.2.4), too."""
    major, minor, *_ = (facts.get("redis_version") or "0.0").split(".")
    return int(major), int(minor)
