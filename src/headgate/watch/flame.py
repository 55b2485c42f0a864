"""The flame graph of stalled time: stacks added up into a tree, and the tree laid out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from headgate.watch.model import Incident
from headgate.watch.stacks import owner

NARROWEST: Final = 0.001
"""Share of the whole below which a box is not drawn."""


@dataclass
class Node:
    """A frame on a certain path from the root, with the seconds that were lost in it."""

    label: str
    seconds: float = 0.0
    children: dict[str, Node] = field(default_factory=dict)


@dataclass(frozen=True)
class Box:
    """A frame as drawn: `left` and `width` are shares of the whole."""

    depth: int
    left: float
    width: float
    seconds: float
    name: str
    place: str
    kind: str


def tree(incidents: Iterable[Incident]) -> Node:
    """All stacks of all incidents, the outermost frames first; what runs the loop and the server is left out."""
    top = Node("all")
    for incident in incidents:
        for seconds, frames in incident.stacks:
            top.seconds += seconds
            node = top
            for label in [what(incident), *_telling(frames)]:
                node = node.children.setdefault(label, Node(label))
                node.seconds += seconds
    return top


def what(incident: Incident) -> str:
    """The bottom of an incident's flames: the kind of loop."""
    return f"{incident.kind} loop" if incident.kind in ("asyncio", "uvloop") else f"{incident.kind} hub"


def _telling(frames: list[str]) -> list[str]:
    """The frames from the user's outermost one on, or all of them if none is the user's."""
    for number, label in enumerate(frames):
        file = _file(label)
        if file and owner(file) == "user" and "<module>" not in label:
            return frames[number:]
    return frames[-12:]


def boxes(top: Node) -> Iterator[Box]:
    """The tree as boxes, parents before children, siblings from the widest on."""
    if top.seconds > 0:
        yield from _laid(top, 0, 0.0, top.seconds)


def _laid(node: Node, depth: int, left: float, whole: float) -> Iterator[Box]:
    width = node.seconds / whole
    name, _, place = node.label.rpartition(" ") if ":" in node.label else (node.label, "", "")
    kind = _kind(node.label) if depth > 1 else "root"
    yield Box(depth, left, width, node.seconds, name or node.label, place, kind)
    for child in sorted(node.children.values(), key=lambda each: -each.seconds):
        if child.seconds / whole >= NARROWEST:
            yield from _laid(child, depth + 1, left, whole)
        left += child.seconds / whole


def _kind(label: str) -> str:
    file = _file(label)
    if not file:
        return "call"
    return "user" if owner(file) == "user" else "library" if owner(file) == "library" else "stdlib"


def _file(label: str) -> str:
    place = label.rpartition(" ")[2]
    file, mark, line = place.rpartition(":")
    return file if mark and line.isdigit() else ""
