"""From a stall to an incident: which frame to show, what it had called, how its time was spent."""

from __future__ import annotations

import linecache
from collections import Counter
from dataclasses import dataclass
from typing import Final

from headgate.watch import advice, calls, model
from headgate.watch.causes import cause as cause_of
from headgate.watch.clues import Clues
from headgate.watch.model import Incident, Sample, Stall, label
from headgate.watch.stacks import Frame, blamed, importing

STACKS: Final = 24
"""Different stacks kept of one incident."""


@dataclass(frozen=True)
class Origin:
    """The process that an incident is of."""

    pid: int
    process: str


def name(stall: Stall, clues: Clues, origin: Origin, at: float) -> Incident | None:
    """The incident of a stall, or None when it is none (a debugger, a stopped process).

    Args:
        stall: as measured.
        clues: what its live frames told.
        origin: the process.
        at: wall clock of its end.
    """
    cause = cause_of(stall)
    if cause in (model.STOPPED, model.DEBUGGER):
        return None
    samples = _telling(stall, cause)
    chosen, frame, call = _chosen(samples, cause, clues)
    incident = Incident(
        at=at,
        pid=origin.pid,
        process=origin.process,
        kind=stall.kind,
        line=stall.line,
        cause=cause,
        seconds=stall.length / 1e9,
        file=frame.file if frame else "",
        number=frame.line if frame else 0,
        function=frame.function if frame else "",
        code=linecache.getline(frame.file, frame.line).strip()[:200] if frame else "",
        call=call,
        handler=clues.handler,
        request_id=clues.request_id,
        statement=clues.statement,
        url=clues.url,
        sleeping=_sleeping(samples),
        callbacks=len({sample.root for sample in samples}) if cause == model.OVERLOAD else 0,
        ended=stall.end,
        uncertain=stall.uncertain / 1e9,
        cpu=stall.cpu / 1e9,
        queued=stall.queued / 1e9,
        gc=stall.gc / 1e9,
        held=stall.held / 1e9,
        late=bool(samples)
        and cause not in (model.GC, model.STARVED)  # these were measured, not seen
        and all(sample.late or sample.at >= stall.end for sample in samples),
        outside=bool(samples) and all(sample.outside for sample in samples),
        stacks=spent(samples, stall),
    )
    incident.fingerprint = fingerprint(incident)
    inner = chosen.stack[: blamed(chosen.stack)] if chosen else ()
    incident.advice = advice.advice(incident, inner)
    return incident


def _telling(stall: Stall, cause: str) -> list[Sample]:
    """The samples to name it by: those from outside where they saw more, those within it before late ones."""
    samples = stall.samples
    if cause == model.GIL:
        samples = [sample for sample in samples if sample.foreign] or samples
    elif any(not sample.foreign for sample in samples):
        samples = [sample for sample in samples if not sample.foreign]
    within = [sample for sample in samples if sample.at < stall.end]
    seen = [sample for sample in within if sample.outside]
    if seen and stall.held >= 0.5 * stall.length:
        return seen
    return within or samples


def _chosen(samples: list[Sample], cause: str, clues: Clues) -> tuple[Sample | None, Frame | None, str]:
    """The sample, the frame and the call that most of the time went to."""
    if not samples:
        return None, None, "import" if cause == model.IMPORT else ""
    seen: list[tuple[Sample, Frame, str]] = []
    for sample in samples:
        if sample.stack:
            frame = sample.stack[blamed(sample.stack)]
            seen.append((sample, frame, _call(sample, frame, cause, clues)))
    if not seen:
        return samples[0], None, ""
    places = Counter((frame.file, frame.function) for _, frame, _ in seen)
    place = places.most_common(1)[0][0]
    here = [each for each in seen if (each[1].file, each[1].function) == place]
    spots = Counter((frame.line, call) for _, frame, call in here)
    line, call = spots.most_common(1)[0][0]
    return next(each for each in here if each[1].line == line and each[2] == call)


def _call(sample: Sample, frame: Frame, cause: str, clues: Clues) -> str:
    if cause == model.IMPORT and importing(sample.stack):
        return "import"
    call = calls.callee(sample.stack, blamed(sample.stack)) or sample.call
    if not call and sample.outside:
        known = clues.lines.get(frame.line, "") if clues.function == (frame.file, frame.function) else ""
        spelled = calls.spelled(calls.on_line(frame))
        call = known or (clues.call if _same_call(clues.call, spelled) else spelled)
    return call


def _same_call(resolved: str, spelled: str) -> bool:
    """Whether the call that was seen alive can be the one that was seen from outside."""
    return bool(resolved) and resolved.rpartition(".")[2] == spelled.rpartition(".")[2]


def _sleeping(samples: list[Sample]) -> str:
    found = Counter(sample.sleeping for sample in samples if sample.sleeping)
    return found.most_common(1)[0][0] if found else ""


def spent(samples: list[Sample], stall: Stall) -> list[tuple[float, list[str]]]:
    """How a stall's length divides among the stacks that were seen in it, the longest first."""
    times: dict[tuple[str, ...], float] = {}
    ordered = sorted(samples, key=lambda sample: sample.at)
    for number, sample in enumerate(ordered):
        begin = stall.begin if number == 0 else (ordered[number - 1].at + sample.at) / 2
        end = stall.end if number == len(ordered) - 1 else (sample.at + ordered[number + 1].at) / 2
        leaf = (sample.call,) if sample.call else ()
        stack = tuple(label(frame) for frame in reversed(sample.stack)) + leaf
        times[stack] = times.get(stack, 0.0) + max(0.0, min(end, stall.end) - max(begin, stall.begin))
    ranked = sorted(times.items(), key=lambda item: -item[1])[:STACKS]
    return [(round(time / 1e9, 4), list(stack)) for stack, time in ranked]


def fingerprint(incident: Incident) -> str:
    """The same for incidents of the same place, call and cause, in any process."""
    parts = (incident.kind, incident.cause, incident.file, incident.function, incident.call)
    value = 0xCBF29CE484222325  # FNV-1a; hashlib would bring all of OpenSSL into the watched process
    for byte in "\0".join(parts).encode("utf-8", "replace"):
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"
