"""Incidents grouped by fingerprint, with what to say aloud and when. Pure: time is given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from headgate.watch.model import Incident

GROUPS: Final = 200
"""Places kept; what is past that is counted as "other places"."""
QUIET: Final = 60.0
"""Seconds for which a place that was told of is only counted, unless it gets much worse."""
MUCH_WORSE: Final = 2.0
OTHER: Final = "other"


@dataclass
class Group:
    """All incidents of one fingerprint."""

    worst: Incident
    first: float
    last: float
    count: int = 0
    total: float = 0.0
    handlers: dict[str, int] = field(default_factory=dict)
    told_at: float = float("-inf")
    told_worst: float = 0.0
    untold: int = 0

    def add(self, incident: Incident) -> None:
        self.count += 1
        self.total += incident.seconds
        self.last = max(self.last, incident.at)
        self.first = min(self.first, incident.at)
        if incident.seconds > self.worst.seconds:
            self.worst = incident
        if incident.handler and (incident.handler in self.handlers or len(self.handlers) < 20):
            self.handlers[incident.handler] = self.handlers.get(incident.handler, 0) + 1


class Groups:
    """Groups of incidents, bounded in number."""

    def __init__(self, incidents: Iterable[Incident] = ()) -> None:
        self.groups: dict[str, Group] = {}
        self.count = 0
        self.total = 0.0
        self.worst = 0.0
        self.by_cause: dict[tuple[str, str], tuple[int, float]] = {}
        for incident in incidents:
            self.add(incident)

    def add(self, incident: Incident) -> Group:
        """Count an incident; returns its group."""
        self.count += 1
        self.total += incident.seconds
        self.worst = max(self.worst, incident.seconds)
        count, total = self.by_cause.get((incident.kind, incident.cause), (0, 0.0))
        self.by_cause[incident.kind, incident.cause] = (count + 1, total + incident.seconds)
        key = incident.fingerprint
        if key not in self.groups and len(self.groups) >= GROUPS:
            key = OTHER
        group = self.groups.setdefault(key, Group(incident, incident.at, incident.at))
        group.add(incident)
        return group

    def tell(self, incident: Incident, now: float) -> int | None:
        """Count an incident, and decide whether it deserves a line of its own now.

        Args:
            incident: the newest.
            now: seconds on any clock that does not step back.

        Returns:
            None when it is only counted; else how many of its group were not told since the last line.
        """
        group = self.add(incident)
        due = now - group.told_at >= QUIET
        if not due and incident.seconds < MUCH_WORSE * group.told_worst:
            group.untold += 1
            return None
        untold, group.untold = group.untold, 0
        group.told_at = now
        group.told_worst = incident.seconds if due else max(incident.seconds, group.told_worst)
        return untold

    def ranked(self) -> list[Group]:
        """The groups that cost most first."""
        return sorted(self.groups.values(), key=lambda group: -group.total)

    def facts(self, most: int = 5) -> dict[str, Any]:
        """What `headgate status` and the metrics show of them."""
        return {
            "incidents": self.count,
            "stalled": round(self.total, 3),
            "worst": round(self.worst, 3),
            "causes": [
                {"kind": kind, "cause": cause, "count": count, "seconds": round(total, 3)}
                for (kind, cause), (count, total) in sorted(self.by_cause.items())
            ],
            "places": [
                {
                    "place": group.worst.place,
                    "function": group.worst.function,
                    "call": group.worst.call,
                    "cause": group.worst.cause,
                    "kind": group.worst.kind,
                    "handler": group.worst.handler,
                    "count": group.count,
                    "seconds": round(group.total, 3),
                    "worst": round(group.worst.seconds, 3),
                    "late": group.worst.late,
                }
                for group in self.ranked()[:most]
            ],
        }
