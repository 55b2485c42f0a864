"""OpenTelemetry: a stall as an event of the span that it happened in, where the service traces already."""

from __future__ import annotations

import sys
from contextvars import Context
from types import FrameType
from typing import Any

from headgate.watch.model import Incident
from headgate.watch.stacks import walk


def span_of(frame: FrameType | None) -> Any:
    """The recording span of the callback that a thread runs, found in its context; None where nobody traces."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    for caller in walk(frame):
        if caller.f_code.co_name == "_run" and caller.f_code.co_filename.endswith("events.py"):
            context = getattr(caller.f_locals.get("self"), "_context", None)
            return _span_in(context, trace) if isinstance(context, Context) else None
    return None


def _span_in(context: Context, trace: Any) -> Any:
    for variable, value in context.items():
        if variable.name == "current_context":
            span = trace.get_current_span(value)
            return span if span.is_recording() else None
    return None


def note(incident: Incident, span: Any) -> None:
    """Add the event to the span that was found while the stall lasted, if there was one."""
    if span is not None:
        span.add_event("headgate.stall", attributes(incident))


def attributes(incident: Incident) -> dict[str, str | float | int]:
    """An incident as a span event's attributes, by OpenTelemetry's names for code."""
    return {
        "headgate.stall.seconds": incident.seconds,
        "headgate.stall.cause": incident.cause,
        "headgate.stall.loop": incident.kind,
        "headgate.stall.call": incident.call,
        "code.file.path": incident.file,
        "code.line.number": incident.number,
        "code.function.name": incident.function,
    }
