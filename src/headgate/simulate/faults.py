"""Faults that are part of a run: those that users cause, and how all of them are written.

reconnect-storm@20s,share=50%       the share's connections are cut at once and come back
stalled-readers@20s,share=10%,for=10s   the share stops reading, and then goes on
slow-uploads@20s,count=20,for=15s,bytes=100000,path=/upload
kill@30s,role=app                   kill -9 of one process of a local Headgate
reload@40s                          `headgate reload` of a local Headgate
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from headgate.simulate.amounts import parse_duration, parse_share
from headgate.simulate.errors import BadInput
from headgate.simulate.floor import Floor
from headgate.simulate.orders import Spec
from headgate.simulate.player import Player
from headgate.simulate.wire.upload import slow_upload

KINDS: Final = {
    "reconnect-storm": {"share"},
    "stalled-readers": {"share", "for"},
    "slow-uploads": {"count", "for", "bytes", "path"},
    "kill": {"role"},
    "reload": set[str](),
}
ON_SERVER: Final = frozenset({"kill", "reload"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: what, when (seconds after the start) and how much of it."""

    kind: str
    at: float
    share: float = 0.5
    seconds: float = 10.0
    count: int = 10
    size: int = 100_000
    path: str = "/"
    role: str = "app"

    @property
    def label(self) -> str:
        """What the timeline says."""
        return {
            "reconnect-storm": f"reconnect storm ({self.share:.0%} of the users)",
            "stalled-readers": f"{self.share:.0%} of the users stop reading for {self.seconds:g} s",
            "slow-uploads": f"{self.count} slow uploads for {self.seconds:g} s",
            "kill": f"kill -9 of one {self.role} process",
            "reload": "reload",
        }[self.kind]


def parse_fault(text: str) -> Fault:
    """A fault as written above.

    Raises:
        BadInput: it is not one.
    """
    head, *options = (part.strip() for part in text.split(","))
    kind, at_sign, moment = head.partition("@")
    if kind not in KINDS or not at_sign:
        known = ", ".join(KINDS)
        raise BadInput(f"fault {text!r} is not understood; write kind@time, the kinds being {known}")
    values: dict[str, str] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or key not in KINDS[kind]:
            allowed = ", ".join(sorted(KINDS[kind])) or "none"
            raise BadInput(f"fault {text!r}: unknown option {option!r} (allowed: {allowed})")
        values[key] = value
    return Fault(
        kind,
        parse_duration(moment, "fault time"),
        share=parse_share(values.get("share", "50%" if kind == "reconnect-storm" else "10%")),
        seconds=parse_duration(values.get("for", "10s"), "fault length"),
        count=_whole(values.get("count", "10"), text),
        size=_whole(values.get("bytes", "100000"), text),
        path=values.get("path", "/"),
        role=values.get("role", "app"),
    )


def _whole(value: str, text: str) -> int:
    if not value.isdigit() or int(value) < 1:
        raise BadInput(f"fault {text!r}: {value!r} is not a whole number above zero")
    return int(value)


class UserFaults:
    """Causes the faults that come from users, in this process's share of them."""

    def __init__(self, spec: Spec, players: Sequence[Player], floor: Floor, note: Callable[[str], None]) -> None:
        self._spec = spec
        self._players = players
        self._floor = floor
        self._note = note
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        for number, text in enumerate(self._spec.faults):
            fault = parse_fault(text)
            if fault.kind not in ON_SERVER:
                self._tasks.append(loop.create_task(self._run(number, fault)))

    async def stop(self) -> None:
        """End what still goes on; stalled readers read again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, number: int, fault: Fault) -> None:
        await asyncio.sleep(max(fault.at - self._floor.now(), 0))
        if self._spec.index == 0:
            self._note(fault.label)
        chosen = [p for p in self._players if self._hits(number, fault, p)]
        if fault.kind == "reconnect-storm":
            for player in chosen:
                player.cut()
        elif fault.kind == "stalled-readers":
            await self._stall(chosen, fault.seconds)
        else:
            await self._upload(fault)

    def _hits(self, number: int, fault: Fault, player: Player) -> bool:
        seed = f"{self._spec.seed}/fault {number}/{player.number}"
        return player.connected and random.Random(seed).random() < fault.share

    async def _stall(self, players: Sequence[Player], seconds: float) -> None:
        for player in players:
            player.freeze(True)
        try:
            await asyncio.sleep(seconds)
        finally:
            for player in players:
                player.freeze(False)

    async def _upload(self, fault: Fault) -> None:
        mine = range(self._spec.index, fault.count, self._spec.processes)
        ends = await asyncio.gather(
            *(slow_upload(self._spec.target, fault.path, fault.size, fault.seconds) for _ in mine)
        )
        for end in ends:
            self._floor.count(f"slow_uploads.{end}")
