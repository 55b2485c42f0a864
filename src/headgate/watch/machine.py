"""What the system knows of a thread: its CPU clock, how long it waited for a CPU, the system call it sleeps in."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Final, NamedTuple

from headgate.watch.native import close_file, open_file, read_at

_X86: Final = {
    0: "read", 1: "write", 7: "poll", 8: "lseek", 9: "mmap", 16: "ioctl", 17: "pread64", 18: "pwrite64", 19: "readv",
    20: "writev", 23: "select", 34: "pause", 35: "nanosleep", 42: "connect", 43: "accept", 44: "sendto",
    45: "recvfrom", 46: "sendmsg", 47: "recvmsg", 61: "wait4", 72: "fcntl", 73: "flock", 74: "fsync",
    75: "fdatasync", 128: "rt_sigtimedwait", 202: "futex", 230: "clock_nanosleep", 232: "epoll_wait",
    247: "waitid", 257: "openat", 270: "pselect6", 271: "ppoll", 281: "epoll_pwait", 288: "accept4", 2: "open",
    299: "recvmmsg", 426: "io_uring_enter", 441: "epoll_pwait2", 449: "futex_waitv",
}  # fmt: skip
_ARM: Final = {
    20: "epoll_create1", 22: "epoll_pwait", 25: "fcntl", 29: "ioctl", 32: "flock", 56: "openat", 63: "read",
    64: "write", 65: "readv", 66: "writev", 67: "pread64", 68: "pwrite64", 72: "pselect6", 73: "ppoll",
    82: "fsync", 83: "fdatasync", 95: "waitid", 98: "futex", 101: "nanosleep", 115: "clock_nanosleep",
    202: "accept", 203: "connect", 206: "sendto", 207: "recvfrom", 211: "sendmsg", 212: "recvmsg", 242: "accept4",
    243: "recvmmsg", 260: "wait4", 426: "io_uring_enter", 441: "epoll_pwait2", 449: "futex_waitv",
}  # fmt: skip
CALLS: Final = {"x86_64": _X86, "aarch64": _ARM}.get(os.uname().machine if hasattr(os, "uname") else "", {})
"""System call number → its name, on this kind of machine."""
POLLS: Final = frozenset({"epoll_wait", "epoll_pwait", "epoll_pwait2"})


class Reading(NamedTuple):
    """A thread's account at one moment, in nanoseconds."""

    at: int
    cpu: int
    queued: int
    """Time for which it was ready to run and had no CPU; 0 where the system does not say."""


class Thread:
    """One thread of this process, read from another.

    Args:
        ident: as `threading.get_ident` gives it.
        tid: as the system numbers it.
    """

    def __init__(self, ident: int, tid: int) -> None:
        self.ident = ident
        self.tid = tid
        self._clock = _cpu_clock(ident)
        self._files: dict[str, int] = {}  # opened when first read: most threads of a server are never looked at

    def read(self, now: int) -> Reading:
        """Its account now."""
        return Reading(now, self.cpu(), self.queued())

    def read_again(self, now: int, last: Reading | None) -> Reading:
        """Its account now; that of a thread which has not run since the last one costs less."""
        if last is not None and self.cpu() == last.cpu:
            return Reading(now, last.cpu, last.queued)
        return self.read(now)

    def cpu(self) -> int:
        """CPU time that it has used, ns."""
        if self._clock is None:
            return 0
        try:
            return time.clock_gettime_ns(self._clock)
        except OSError:  # the thread has ended
            return 0

    def sleeps_in(self) -> tuple[str, int] | None:
        """The system call that it sleeps in, and that call's first argument; None while it runs or nobody says."""
        text = self._text("syscall", 160)
        if not text or not text[0:1].isdigit():
            return None
        parts = text.split()
        try:
            number, first = int(parts[0]), int(parts[1], 16)
        except (IndexError, ValueError):
            return None
        return CALLS.get(number, f"system call {number}"), first

    @property
    def tells_calls(self) -> bool:
        """Whether the system says in which call a thread sleeps."""
        return bool(CALLS) and bool(self._text("syscall", 16))

    def queued(self) -> int:
        """Time for which it was ready to run and had no CPU, ns; 0 where the system does not say."""
        parts = self._text("schedstat", 64).split()
        return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0

    def close(self) -> None:
        """Give the descriptors back."""
        for descriptor in self._files.values():
            if descriptor >= 0:
                with contextlib.suppress(OSError):
                    close_file(descriptor)
        self._files.clear()

    def _text(self, name: str, count: int) -> str:
        descriptor = self._files.get(name)
        if descriptor is None:
            descriptor = self._files[name] = _open(f"/proc/self/task/{self.tid}/{name}")
        if descriptor < 0 or read_at is None:
            return ""
        try:
            return str(read_at(descriptor, count, 0), "ascii", "replace")
        except OSError:
            return ""


def debugged() -> bool:
    """Whether a debugger such as gdb holds this process."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            return any(line.startswith("TracerPid:") and line.split()[1] != "0" for line in status)
    except OSError:
        return False


def stopped(pid: int) -> bool:
    """Whether a process has been stopped by a signal or a debugger."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False


def _cpu_clock(ident: int) -> int | None:
    try:
        return time.pthread_getcpuclockid(ident)
    except (AttributeError, OSError):
        return None


def _open(path: str) -> int:
    try:
        return open_file(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, AttributeError):
        return -1
