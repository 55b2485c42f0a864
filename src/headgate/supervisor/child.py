"""The supervisor as seen from a role's process: what it was given, and the few words it says back.

`serve` is the whole `main()` of an asyncio role; the others make a `Child` and use it. `Child.standalone`
is one without a supervisor, for tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import io
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from headgate.base.errors import NotHosted
from headgate.base.ports import Service
from headgate.config.settings import Lane, Role, Settings
from headgate.supervisor import channel, logs, parent, watching
from headgate.supervisor.bootfail import describe
from headgate.supervisor.channel import ENVIRONMENT, Brief, ToChild, process_name
from headgate.supervisor.stop import Stop
from headgate.supervisor.wire import Wire
from headgate.watch.process import Watch

log = logging.getLogger("headgate.supervisor")

EXIT_BOOT: Final = 3
"""The exit code of a child that could not start."""
ORPHAN_GRACE: Final = 1.0
"""Seconds that a child gives itself when the supervisor is gone."""
_BACKLOG: Final = 256
"""Notices kept for a callback that is not registered yet."""

Callback = Callable[[Mapping[str, Any]], None]


class Child:
    """One role's process, as `Child.from_environment` (hosted) or `Child.standalone` (tests) makes it."""

    def __init__(self, brief: Brief, listeners: list[socket.socket], link: socket.socket | None) -> None:
        self.role: Role = brief.role
        self.lane: Lane | None = brief.lane
        self.index = brief.index
        self.generation = brief.generation
        self.name = process_name(brief.role, brief.lane, brief.index, brief.generation, os.getpid())
        """Unique to this run of the process."""
        self.settings: Settings = brief.settings
        self.listeners = listeners
        """A gateway's public sockets, listening already."""
        self.link = link
        """A gateway's link socket, listening already."""
        self.links = list(brief.links)
        """An app worker's: the paths of all gateways' link sockets."""
        self.replaces = brief.replaces
        """The name of the dead process whose place this one takes."""
        self.stop = Stop()
        self.is_ready = threading.Event()
        self.failure: BaseException | None = None
        self.stats: dict[str, Any] = {}
        self.loop_lag: float | None = None
        """Seconds that the event loop was late for the worst beat of the last second; known under `serve`."""
        self.watch: Watch | None = None
        """What blocks this process's loops and handlers, unless the setting says not to look."""
        self._wire: Wire | None = None
        self._callbacks: dict[str, Callback] = {}
        self._backlog: list[channel.Notice] = []
        self._lock = threading.Lock()
        self._call: Callable[[Callable[[], None]], object] = lambda call: call()

    @property
    def takes_over(self) -> bool:
        """Whether another process serves in this place until the notice `begin` comes (a gateway of a reload)."""
        return self.generation > 1 and self.replaces is None

    @classmethod
    def from_environment(cls) -> Child:
        """The child that the supervisor started this process as.

        Takes the brief out of the environment, sets up logging and signals, and opens the channel.

        Raises:
            NotHosted: the process was not started by a supervisor.
        """
        text = os.environ.pop(ENVIRONMENT, None)
        if text is None:
            raise NotHosted(f"{ENVIRONMENT} is not set: a role is started by `headgate run`, not by hand.")
        brief = msgspec.json.decode(text, type=Brief)
        parent.die_with(brief.supervisor)
        parent.leave_signals_to_supervisor()
        faulthandler.enable()
        if isinstance(sys.stdout, io.TextIOWrapper):  # what the app prints is seen when it is printed, in a pipe too
            sys.stdout.reconfigure(line_buffering=True)
        listeners = [_inherit(number) for number in brief.listeners]
        child = cls(brief, listeners, None if brief.link is None else _inherit(brief.link))
        logs.set_up(child.name.split(".", maxsplit=1)[0], brief.settings.log_level)
        if brief.role in ("app", "jobs"):
            sys.path.insert(0, os.getcwd())
        child.watch = watching.begin(brief)
        child._wire = Wire(_inherit(brief.channel), child._hear, child._orphaned)
        child._wire.start()
        return child

    @classmethod
    def standalone(
        cls,
        role: Role,
        settings: Settings,
        *,
        lane: Lane | None = None,
        index: int = 0,
        generation: int = 1,
        listeners: list[socket.socket] | None = None,
        link: socket.socket | None = None,
        links: list[str] | None = None,
        replaces: str | None = None,
    ) -> Child:
        """A child without a supervisor, for running a role inside a test.

        `is_ready`, `failure` and `stats` show what it said; `stop.order(seconds)` and `notice(kind, data)`
        take the supervisor's part.
        """
        brief = Brief(
            role=role,
            lane=lane,
            index=index,
            generation=generation,
            settings=settings,
            supervisor=os.getpid(),
            channel=-1,
            links=tuple(links or ()),
            replaces=replaces,
        )
        return cls(brief, listeners or [], link)

    def ready(self) -> None:
        """Say, once, that work can be taken."""
        if not self.is_ready.is_set():
            self.is_ready.set()
            watching.serves(self.watch)
            if self._wire:
                self._wire.send(channel.Ready())

    def failed(self, exc: BaseException) -> None:
        """Say why the role cannot start; the caller then exits with `EXIT_BOOT`."""
        self.failure = exc
        if self._wire:
            self._wire.send(describe(exc))
            self.flush(2.0)

    def flush(self, seconds: float) -> bool:
        """Wait until the supervisor's end has what was said; False when that takes longer than `seconds`."""
        return self._wire is None or self._wire.flush(seconds)

    def touch(self) -> None:
        """Say that the main loop turns; to be called from that loop about once a second."""
        if self._wire:
            self._wire.touch()

    def report(self, stats: Mapping[str, Any]) -> None:
        """Give what `headgate status` shows of this process; sent at most once a second, the newest wins."""
        lag = {} if self.loop_lag is None else {"loop_lag": round(self.loop_lag, 6)}
        self.stats = {**stats, **lag, **watching.facts(self.watch)}
        if self._wire:
            self._wire.report(self.stats)

    def on_message(self, kind: str, callback: Callback) -> None:
        """Hear the supervisor's notices of a kind, those that came already included.

        Under `serve` the callback runs in the event loop, else on the channel's thread.
        """
        with self._lock:
            self._callbacks[kind] = callback
            missed = [notice for notice in self._backlog if notice.kind == kind]
            self._backlog = [notice for notice in self._backlog if notice.kind != kind]
        for notice in missed:
            self._pass_on(callback, notice.data)

    def on_stop(self, callback: Callable[[float], None]) -> None:
        """Call `callback(seconds left)` when the order to stop comes, on the channel's thread."""
        self.stop.add(callback)

    def notice(self, kind: str, data: Mapping[str, Any]) -> None:
        """Take a notice as if the supervisor had sent it."""
        with self._lock:
            callback = self._callbacks.get(kind)
            if callback is None:
                self._backlog = [*self._backlog[1 - _BACKLOG :], channel.Notice(kind, dict(data))]
        if callback is not None:
            self._pass_on(callback, data)

    def bind_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run notice callbacks in this loop from now on."""
        self._call = loop.call_soon_threadsafe

    def _pass_on(self, callback: Callback, data: Mapping[str, Any]) -> None:
        self._call(lambda: callback(data))

    def _hear(self, message: ToChild) -> None:
        match message:
            case channel.Stop(seconds):
                self.stop.order(seconds)
            case channel.Notice(kind, data):
                self.notice(kind, data)

    def _orphaned(self) -> None:
        """The supervisor is gone: nobody would ever stop this process."""
        self.stop.order(ORPHAN_GRACE)
        threading.Event().wait(ORPHAN_GRACE)
        os._exit(1)


def serve(factory: Callable[[Child], Service], *, uvloop: bool = True) -> None:
    """The whole `main()` of an asyncio role: run the service, tell the supervisor, exit.

    Args:
        factory: makes the service; what it raises is a boot failure, like what the service raises before it is ready.
        uvloop: run on uvloop where it is installed.

    Raises:
        SystemExit: always; 0 after an orderly end, `EXIT_BOOT` when it could not start, 1 after a crash.
    """
    child = Child.from_environment()
    code = 0
    try:
        with asyncio.Runner(loop_factory=_loop_factory(uvloop)) as runner:
            runner.run(_host(factory, child))
    except BaseException as exc:
        code = _crashed(child, exc)
    sys.stdout.flush()
    raise SystemExit(code)


async def _host(factory: Callable[[Child], Service], child: Child) -> None:
    child.bind_loop(asyncio.get_running_loop())
    service = factory(child)
    pulse = asyncio.create_task(_pulse(child))
    try:
        await service.run(child.ready, child.stop)
    finally:
        pulse.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await pulse


async def _pulse(child: Child) -> None:
    while True:
        child.touch()
        child.loop_lag = await lateness()


async def lateness(beats: int = 10, gap: float = 0.1) -> float:
    """How late this event loop was, at worst, for some beats: what a callback that is due now has to wait, seconds."""
    loop, worst = asyncio.get_running_loop(), 0.0
    for _ in range(beats):
        due = loop.time() + gap
        await asyncio.sleep(gap)
        worst = max(worst, loop.time() - due)
    return worst


def _crashed(child: Child, exc: BaseException) -> int:
    if not child.is_ready.is_set():
        child.failed(exc)
        return EXIT_BOOT
    log.error("%s ends because of an error", child.name, exc_info=exc)
    return 1


def _loop_factory(wanted: bool) -> Callable[[], asyncio.AbstractEventLoop]:
    if wanted:
        with contextlib.suppress(ImportError):
            import uvloop

            return uvloop.new_event_loop
    return asyncio.new_event_loop


def _inherit(number: int) -> socket.socket:
    """The socket behind an inherited descriptor, which programs started from here do not inherit again."""
    inherited = socket.socket(fileno=number)
    inherited.set_inheritable(False)
    return inherited
