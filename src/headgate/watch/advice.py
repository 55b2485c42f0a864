"""What to do about an incident, in one sentence that fits its loop, its cause and the library at fault."""

from __future__ import annotations

from typing import Final

from headgate.watch import model
from headgate.watch.model import Incident
from headgate.watch.stacks import Stack, module

_JOB: Final = "run it in a job"
_GREEN: Final = ("eventlet", "gevent")

_BY_CAUSE: Final = {
    model.GC: "freeze what start-up made (`gc.freeze()`), collect outside of requests, keep fewer objects alive",
    model.STARVED: "the machine had no CPU left for it: fewer processes, or more cores; no call is at fault",
    model.IMPORT: "import it when the process starts, not in a handler",
    model.OVERLOAD: "no single call is at fault: too much work in one turn; spread it over processes, or let fewer in",
    model.UNKNOWN: "run the process under `headgate watch run`, whose observer needs no interpreter lock to name it",
}
_DRIVERS: Final = {
    "psycopg": ("psycopg.AsyncConnection", "this driver waits in C"),
    "psycopg2": ("psycopg.AsyncConnection", "this driver waits in C (psycogreen patches its wait)"),
    "pymysql": ("aiomysql or asyncmy", "this driver waits on a socket that is not patched"),
    "MySQLdb": ("aiomysql or asyncmy", "this driver waits in C"),
    "mysql": ("mysql.connector.aio", "this driver waits on a socket of its own"),
    "sqlite3": ("aiosqlite", "SQLite waits in C"),
    "sqlalchemy": ("sqlalchemy.ext.asyncio", "its driver waits"),
    "django": ("the a… methods of the ORM (`aget`, `async for`)", "its driver waits"),
    "redis": ("redis.asyncio", "its socket is not patched"),
    "pymongo": ("pymongo.AsyncMongoClient", "its socket is not patched"),
    "requests": ("httpx.AsyncClient or aiohttp", "its socket is not patched"),
    "urllib3": ("httpx.AsyncClient or aiohttp", "its socket is not patched"),
    "urllib": ("httpx.AsyncClient or aiohttp", "its socket is not patched"),
    "httpx": ("httpx.AsyncClient", "its socket is not patched"),
    "http": ("httpx.AsyncClient or aiohttp", "its socket is not patched"),
    "boto3": ("aioboto3", "its socket is not patched"),
    "botocore": ("aiobotocore", "its socket is not patched"),
    "grpc": ("grpc.aio", "it waits in C"),
}


def advice(incident: Incident, inner: Stack = ()) -> str:
    """One sentence.

    Args:
        incident: named, but for this.
        inner: the frames inside the blamed one, innermost first.
    """
    fixed = _BY_CAUSE.get(incident.cause)
    if fixed:
        return fixed
    words = f"{incident.call} {' '.join(frame.function for frame in inner)}"
    libraries = {module(frame.file).partition(".")[0] for frame in inner}
    if incident.cause == model.GIL:
        return "another thread kept the interpreter lock: run that work in a process of its own, or in a job"
    # Many quick statements in a row take as much CPU as they wait: it is the driver's loop all the same.
    if incident.cause == model.COMPUTING and not (incident.kind in _GREEN and libraries & _DRIVERS.keys()):
        return _computing(incident, words)
    if incident.kind == "thread":
        return _thread(incident)
    if incident.cause == model.LOCK:
        return _lock(incident)
    return _blocking(incident, words, libraries)


def _computing(incident: Incident, words: str) -> str:
    if "re." in words or ".match" in words or ".search" in words or ".fullmatch" in words or ".sub" in words:
        return (
            "this expression may backtrack without end: bound the input, or rewrite the pattern; a thread does not help"
        )
    if any(word in words for word in ("pbkdf2", "scrypt", "bcrypt", "argon2", "hash")):
        return f"hashing is meant to be slow: call it in a thread (it lets go of the interpreter), or {_JOB}"
    return f"it computes, and a thread would stop the loop all the same: {_JOB}, or in a process pool"


def _thread(incident: Incident) -> str:
    if incident.cause == model.LOCK:
        return "the handler waits for a lock or a pool: hold it for less long, or make the pool larger"
    return "the handler waits for this; a timeout of its own keeps it from holding a thread, a job frees it"


def _lock(incident: Incident) -> str:
    if incident.kind in _GREEN:
        return "this lock was made before the monkey-patching, or is another thread's: patch first, or wait in a thread"
    return "use asyncio's own lock, event or queue, or wait in a thread (`asyncio.to_thread`)"


def _blocking(incident: Incident, words: str, libraries: set[str]) -> str:
    green = incident.kind in _GREEN
    if "getaddrinfo" in words or "gethostby" in words or "resolve" in words:
        hub = f"patch it (`{incident.kind}.monkey`)" if green else "`loop.getaddrinfo`, or an async client"
        return f"looking up a name waits for the DNS server: {hub}, or keep connections open"
    if "sleep" in incident.call:
        return f"use `{incident.kind}.sleep`" if green else "use `await asyncio.sleep(…)`"
    if "subprocess" in incident.call or "os.system" in incident.call or "wait4" in incident.sleeping:
        return f"{'patch subprocess, or ' if green else 'use `asyncio.create_subprocess_exec`, or '}{_JOB}"
    for library, (better, why) in _DRIVERS.items():
        if library in libraries or incident.call.startswith(f"{library}.") or f" {library}." in words:
            return f"{why}: {_JOB}" if green else f"use {better}, a thread (`asyncio.to_thread`), or {_JOB}"
    if incident.sleeping in ("read", "write", "openat", "open", "pread64", "pwrite64", "fsync", "fdatasync", "flock"):
        hub = f"`{incident.kind}.tpool`" if incident.kind == "eventlet" else f"`{incident.kind}` has a thread pool"
        return f"files cannot be waited for without a thread: {hub if green else '`asyncio.to_thread`'}, or {_JOB}"
    if green:
        return f"it waits where the hub cannot see it: {_JOB}"
    return f"await something that does this, or `asyncio.to_thread`: {_JOB}"
