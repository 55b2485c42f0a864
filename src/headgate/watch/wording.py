"""An incident as one line of text."""

from __future__ import annotations

from typing import Final

from headgate.watch import model
from headgate.watch.model import Incident

_WHAT: Final = {"asyncio": "the asyncio loop", "uvloop": "the uvloop loop", "eventlet": "the eventlet hub"}


def seconds(value: float) -> str:
    """A length: `1.52 s`, `214 ms`."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def what(incident: Incident) -> str:
    """What stood still."""
    if incident.kind == "thread":
        return f"thread {incident.line}" if incident.line else "a handler's thread"
    return _WHAT.get(incident.kind, f"the {incident.kind} hub" if incident.kind == "gevent" else incident.kind)


def short(path: str) -> str:
    """A file's name with its folder."""
    parts = path.replace("\\", "/").rsplit("/", 2)
    return "/".join(parts[-2:])


def line(incident: Incident, untold: int = 0) -> str:
    """The log line: what stood still, for how long, because of what, where, for whom, and what to do."""
    parts = [_head(incident)]
    if incident.handler:
        request = f" (request {incident.request_id})" if incident.request_id else ""
        parts[0] += f" in handler {incident.handler}{request}"
    if incident.statement or incident.url:
        parts.append(f"at: {incident.statement or incident.url}")
    if incident.sockets or incident.tasks:
        parts.append(waited(incident))
    if incident.late:
        parts.append("seen late, GIL-blind: the place is where it was when the interpreter lock came free")
    if incident.advice:
        parts.append(incident.advice)
    if untold:
        parts.append(f"{untold} more like it since the last line")
    return "; ".join(parts)


def _head(incident: Incident) -> str:
    where = f" at {short(incident.file)}:{incident.number}" if incident.file else ""
    subject, time = what(incident), seconds(incident.seconds)
    call = f"`{incident.call}`" if incident.call else f"`{incident.function}`" if incident.function else "something"
    verb = "blocks" if incident.unfinished else "blocked"
    if incident.cause == model.STARVED:
        return f"{subject} got no CPU for {time} (another process had it){where}"
    if incident.cause == model.OVERLOAD:
        return f"{incident.callbacks} callbacks in one turn kept {subject} for {time}, most of it {call}{where}"
    if incident.cause == model.GC:
        return f"a garbage collection {verb} {subject} for {time}{where}"
    if incident.cause == model.GIL:
        return f"{call} in another thread kept the interpreter from {subject} for {time}{where}"
    if incident.cause == model.COMPUTING:
        return f"{call} computed and {verb} {subject} for {time}{where}"
    if incident.cause == model.UNKNOWN:
        return f"something that nobody saw {verb} {subject} for {time}"
    return f"{call} {verb} {subject} for {time}{where}"


def waited(incident: Incident) -> str:
    """Who waited meanwhile, and for how long: `212 sockets waited up to 1.40 s`."""
    parts = []
    if incident.sockets:
        parts.append(f"{incident.sockets} socket{'s' if incident.sockets != 1 else ''}")
    if incident.tasks:
        parts.append(f"{incident.tasks} green thread{'s' if incident.tasks != 1 else ''} or callbacks")
    longest = f" up to {seconds(incident.waited)}" if incident.waited else ""
    return " and ".join(parts) + f" waited{longest}"
