"""The processes themselves: carries out orders about them, and turns what they say and do into events."""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from headgate.base.errors import ProtocolError
from headgate.base.frames import FrameReader
from headgate.supervisor import channel, system
from headgate.supervisor.channel import FRAME_LIMIT, Brief, ToChild, decode_to_supervisor, encode
from headgate.supervisor.events import (
    Beat,
    BecameReady,
    BootFailed,
    Event,
    Exited,
    Probed,
    Spawned,
    SpawnFailed,
)
from headgate.supervisor.spawn import Command, spawn


@dataclass
class Member:
    """One process with our end of its channel."""

    process: subprocess.Popen[bytes]
    channel: socket.socket
    reader: FrameReader = field(default_factory=lambda: FrameReader(FRAME_LIMIT))
    open: bool = True
    stats: dict[str, Any] = field(default_factory=dict)
    stats_at: float = 0.0


class Members:
    """All processes by the crew's run numbers.

    Args:
        selector: where to be told of what they say; keys carry a callable as their data.
        happened: takes each event.
        command: role → command line.
    """

    def __init__(self, selector: selectors.BaseSelector, happened: Callable[[Event], None], command: Command) -> None:
        self._selector = selector
        self._happened = happened
        self._command = command
        self._members: dict[int, Member] = {}

    def __len__(self) -> int:
        return len(self._members)

    def spawn(self, run: int, brief: Brief) -> None:
        """Start a process; `Spawned` or `SpawnFailed` follows at once."""
        try:
            process, ours = spawn(brief, self._command)
        except OSError as exc:
            self._happened(SpawnFailed(run, exc.strerror or str(exc)))
            return
        self._members[run] = Member(process, ours)
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._read(run))
        self._happened(Spawned(run, process.pid))

    def send(self, run: int, message: ToChild) -> None:
        """Send to a process. One whose channel is full or gone misses it: its silence or its end is acted on."""
        member = self._members.get(run)
        if member is not None and member.open:
            data = encode(message)
            with contextlib.suppress(OSError):
                if member.channel.send(data) < len(data):
                    self._close_channel(member)  # half a frame would garble all that follows

    def kill(self, run: int) -> None:
        if run in self._members:
            self._members[run].process.send_signal(signal.SIGKILL)

    def probe(self, run: int) -> None:
        """Ask the system about a process; `Probed` follows where it answers."""
        if run in self._members:
            facts = system.look(self._members[run].process.pid)
            if facts is not None:
                self._happened(Probed(run, facts.cpu, facts.stopped))

    def reap(self) -> None:
        """Take in the ends of processes, what they said last before it."""
        for run, member in list(self._members.items()):
            status = member.process.poll()
            if status is None:
                continue
            while member.open and self._read(run):
                pass
            self._close_channel(member)
            del self._members[run]
            self._happened(Exited(run, status))

    def facts(self, run: int) -> dict[str, Any]:
        """What is known of a process for `headgate status`."""
        member = self._members.get(run)
        if member is None:
            return {}
        seen = system.look(member.process.pid)
        looked = {"cpu": seen.cpu, "rss": seen.rss, "stopped": seen.stopped} if seen else {}
        age = {"stats_age": round(time.monotonic() - member.stats_at, 1)} if member.stats else {}
        return {**looked, **age, "stats": member.stats}

    def end_all(self) -> None:
        """Kill whatever still runs: the last resort when the supervisor itself fails."""
        for member in self._members.values():
            member.process.kill()
        for member in self._members.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                member.process.wait(5.0)
            self._close_channel(member)
        self._members.clear()

    def _read(self, run: int) -> bool:
        """Take in what a process says; False when there is nothing more for now."""
        member = self._members[run]
        try:
            data = member.channel.recv(65536)
            for message in self._messages(member, data):
                self._take(run, member, message)
        except BlockingIOError:
            return False
        except (OSError, ProtocolError, msgspec.DecodeError):
            data = b""
        if not data:
            self._close_channel(member)
        return bool(data)

    def _messages(self, member: Member, data: bytes) -> Iterator[channel.ToSupervisor]:
        for payload in member.reader.feed(data):
            yield decode_to_supervisor(payload)

    def _take(self, run: int, member: Member, message: channel.ToSupervisor) -> None:
        match message:
            case channel.Ready():
                self._happened(BecameReady(run))
            case channel.Failed():
                self._happened(BootFailed(run, message))
            case channel.Alive():
                self._happened(Beat(run))
            case channel.Report(stats):
                member.stats, member.stats_at = stats, time.monotonic()

    def _close_channel(self, member: Member) -> None:
        if member.open:
            member.open = False
            self._selector.unregister(member.channel)
            member.channel.close()
