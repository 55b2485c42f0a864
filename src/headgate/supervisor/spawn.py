"""Starts a role's process by exec: a fresh interpreter, the inherited sockets, the channel, and nothing else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence

import msgspec

from headgate.supervisor.channel import ENVIRONMENT, PROCESSES, Brief

Command = Callable[[str], Sequence[str]]
"""Role → the command line of its process."""


def role_command(role: str) -> Sequence[str]:
    """The real thing. `-P`: what lies in the current folder must not stand in for a module of a gateway."""
    return [sys.executable, "-P", "-m", f"headgate.roles.{role}"]


def spawn(brief: Brief, command: Command = role_command) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a child; returns the process and the supervisor's end of its channel.

    The child is in a process group of its own, so that a terminal's Ctrl-C reaches the supervisor alone.

    Args:
        brief: what the child is told; its `channel` is filled in here.
        command: role → command line.

    Raises:
        OSError: the machine has no room for another process.
    """
    ours, theirs = socket.socketpair()
    try:
        ours.setblocking(False)
        brief = msgspec.structs.replace(brief, channel=theirs.fileno())
        inherited = [theirs.fileno(), *brief.listeners, *([] if brief.link is None else [brief.link])]
        process = subprocess.Popen(
            list(command(brief.role)),
            env=_environment(brief),
            stdin=subprocess.DEVNULL,
            pass_fds=inherited,
            process_group=0,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours


def _environment(brief: Brief) -> dict[str, str]:
    """Ours with the brief. A number of processes that is set already, for many machines say, stays."""
    told = {PROCESSES: str(brief.processes)} if brief.processes else {}
    return {**told, **os.environ, ENVIRONMENT: msgspec.json.encode(brief).decode()}
