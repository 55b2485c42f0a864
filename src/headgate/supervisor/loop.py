"""The supervisor: a thin loop around the crew. It waits, hands over what happened, and carries out orders."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import selectors
import signal
import time
from collections import deque
from typing import Any, Final, Protocol

import msgspec

import headgate
from headgate.config.explain import masked
from headgate.config.settings import Settings
from headgate.supervisor import channel, events, folder, sockets, system, watching
from headgate.supervisor.advice import given_up
from headgate.supervisor.channel import Brief
from headgate.supervisor.control import ControlServer, Question, Reply
from headgate.supervisor.crew import Crew
from headgate.supervisor.events import Event, Finish, Order
from headgate.supervisor.links import LinkSockets
from headgate.supervisor.logs import LEVELS
from headgate.supervisor.members import Members
from headgate.supervisor.notify import Notifier
from headgate.supervisor.reloader import Reloader
from headgate.supervisor.roster import code_processes, places
from headgate.supervisor.sequence import RELOADED, Limits
from headgate.supervisor.signals import SignalQueue
from headgate.supervisor.spawn import Command, role_command

log = logging.getLogger("headgate.supervisor")

TICK: Final = 0.5
"""Seconds between two looks at the clock."""


class Audience(Protocol):
    """Who wants to hear of the whole's state: the command line."""

    def ready(self, status: dict[str, Any]) -> None:
        """All serve for the first time; `status` is as in `headgate status`."""


class Supervisor:
    """Starts, watches, replaces and reloads all processes of one Headgate.

    Args:
        settings: what to run; nothing is opened before `run`.
        audience: told when all serve.
        command: role → command line of its process; tests put stand-ins here.
    """

    def __init__(
        self, settings: Settings, *, audience: Audience | None = None, command: Command = role_command
    ) -> None:
        self._given = settings
        self._audience = audience
        self._command = command
        self._events: deque[Event] = deque()
        self._finish: Finish | None = None
        self._tickets: dict[int, int] = {}
        self._numbers = itertools.count(1)
        self._reloader: Reloader | None = None
        self._interrupts = 0

    def run(self) -> Finish:
        """Run until told to stop; to be called in the main thread.

        Returns:
            How it ended: exit code, and the reason when it is not an orderly end.

        Raises:
            ConfigError: data folder, address or setting unfit; nothing was started.
        """
        with contextlib.ExitStack() as stack:
            self._open(stack)
            self._happened(events.Started())
            while self._finish is None:
                self._turn()
            return self._finish

    def _open(self, stack: contextlib.ExitStack) -> None:
        """Take the data folder, then the addresses, then the signals: what is most likely to be refused first."""
        data = os.path.abspath(self._given.data)
        settings = msgspec.structs.replace(self._given, data=data)
        possession = folder.take(settings)
        stack.callback(possession.close)
        self._settings = msgspec.structs.replace(settings, secret=folder.secret(settings))
        self._folder = possession.folder
        system.raise_descriptor_limit()
        self._open_sockets(stack)
        self._selector = stack.enter_context(selectors.DefaultSelector())
        self._notifier = Notifier(os.environ)
        stack.callback(self._notifier.close)
        self._signals = SignalQueue()
        stack.callback(self._signals.close)
        self._selector.register(self._signals.readable, selectors.EVENT_READ, self._take_signals)
        control = sockets.unix(self._folder.control, 0o600)
        self._control = ControlServer(control, self._selector, self._asked)
        stack.callback(self._control.close)
        self._crew = Crew(places(self._settings), Limits.of(self._settings))
        stack.enter_context(watching.observed(self._settings))
        self._members = Members(self._selector, self._happened, self._command)
        stack.callback(self._members.end_all)
        stack.callback(self._close_reloader)
        self._began = time.monotonic()

    def _open_sockets(self, stack: contextlib.ExitStack) -> None:
        gateways = self._settings.gateways if "gateway" in self._settings.roles else 0
        given = sockets.from_systemd(os.environ)
        for passed in given:
            stack.callback(passed.close)
        ours = stack.enter_context(sockets.Opened())
        self._public = [given] * gateways if given else ours.public(self._settings.bind, gateways)
        self._links = LinkSockets(self._folder.link, lambda path: ours.unix(path, 0o600), ours.close)
        self._links.prepare(gateways)

    def _turn(self) -> None:
        """Wait for something, take all of it in, then let time pass: silence is judged after listening."""
        for key, _ in self._selector.select(TICK):
            if self._selector.get_map().get(key.fd) is key:  # an earlier one of this turn may have closed it
                key.data()
        self._members.reap()
        self._happened(events.Tick())
        self._notifier.alive(time.monotonic())

    def _happened(self, event: Event) -> None:
        """Hand an event to the crew; events that come of its orders wait until these are carried out."""
        self._events.append(event)
        if len(self._events) > 1:
            return
        while self._events:
            for order in self._crew.handle(self._events[0], time.monotonic()):
                self._carry_out(order)
            self._events.popleft()

    def _carry_out(self, order: Order) -> None:
        match order:
            case events.Spawn():
                self._members.spawn(order.run, self._brief(order))
            case events.SendStop(run, seconds):
                self._members.send(run, channel.Stop(seconds))
            case events.Kill(run):
                self._members.kill(run)
            case events.Tell(run, kind, data):
                self._members.send(run, channel.Notice(kind, data))
            case events.Probe(run):
                self._members.probe(run)
            case events.Unlink(run):
                self._unlink(run)
            case events.Announce(state):
                self._announce(state)
            case events.Say(level, text):
                log.log(LEVELS[level], "%s", text)
            case events.Answer(ticket, failure):
                self._answer_reload(ticket, failure)
            case Finish():
                self._finish = order

    def _brief(self, order: events.Spawn) -> Brief:
        """What the process for a place is given."""
        place = order.place
        gateway = place.role == "gateway"
        return Brief(
            role=place.role,
            lane=place.lane,
            index=place.index,
            generation=order.generation,
            settings=self._settings,
            supervisor=os.getpid(),
            channel=-1,
            listeners=tuple(each.fileno() for each in self._public[place.index]) if gateway else (),
            link=self._links.take(order.run, place.index).fileno() if gateway else None,
            links=self._links.paths if place.role == "app" else (),
            replaces=order.replaces,
            processes=code_processes(self._settings) if place.role in RELOADED else 0,
        )

    def _unlink(self, gateway: int) -> None:
        """A gateway is gone for good: app workers need not dial it any more."""
        if self._links.release(gateway):
            for number, run in self._crew.runs.items():
                if run.place.role == "app":
                    self._members.send(number, channel.Notice("links", {"paths": list(self._links.paths)}))

    def _announce(self, state: str) -> None:
        if state == "reloading":
            self._notifier.reloading()
        elif state == "stopping":
            self._notifier.stopping()
        else:
            self._notifier.ready(f"{len(self._members)} processes serve, generation {self._crew.generation}")
            self._first_ready()

    def _first_ready(self) -> None:
        if self._audience is not None:
            audience, self._audience = self._audience, None
            audience.ready(self.status())
            for line in given_up(self._settings):
                log.warning("%s", line)
        if self._settings.reload and self._reloader is None:
            self._reloader = Reloader(self._settings.reload_dirs or [os.getcwd()])
            self._selector.register(self._reloader.readable, selectors.EVENT_READ, self._files_changed)

    def _files_changed(self) -> None:
        if self._reloader is not None:
            log.info("%s changed", self._reloader.take())
            self._happened(events.ReloadAsked(next(self._numbers)))

    def _close_reloader(self) -> None:
        if self._reloader is not None:
            self._reloader.close()

    def _take_signals(self) -> None:
        for number in self._signals.take():
            if number == signal.SIGINT:
                self._interrupts += 1
                self._happened(events.StopAsked(quick=self._interrupts > 1))
            elif number == signal.SIGTERM or (number == signal.SIGHUP and self._signals.terminal_is_gone()):
                self._happened(events.StopAsked())
            elif number == signal.SIGHUP:
                self._happened(events.ReloadAsked(next(self._numbers)))

    def _asked(self, caller: int, question: Question) -> None:
        """A question on the control socket."""
        if question.do == "status":
            self._control.reply(caller, Reply(data=self.status()))
        elif question.do == "stop":
            self._control.reply(caller, Reply(data={"pid": os.getpid()}))
            self._happened(events.StopAsked(question.quick))
        else:
            ticket = next(self._numbers)
            self._tickets[ticket] = caller
            self._happened(events.ReloadAsked(ticket, question.gateways))

    def _answer_reload(self, ticket: int, failure: channel.Failed | None) -> None:
        caller = self._tickets.pop(ticket, None)
        if failure is not None and failure.traceback:
            log.error("Why the new generation failed to start:\n%s", failure.traceback)
        if caller is None:
            return
        if failure is None:
            self._control.reply(caller, Reply(data={"generation": self._crew.generation}))
        else:
            self._control.reply(caller, Reply(ok=False, failure=failure.message, traceback=failure.traceback))

    def status(self) -> dict[str, Any]:
        """What `headgate status` shows."""
        now = time.monotonic()
        tls = bool(self._settings.tls_cert)
        seen = dict.fromkeys(sockets.written(listener, tls=tls) for share in self._public for listener in share)
        return {
            "version": headgate.__version__,
            "pid": os.getpid(),
            "state": self._crew.mode,
            "uptime": round(now - self._began, 1),
            "generation": self._crew.generation,
            "app": self._settings.app,
            "addresses": list(seen),
            "data": str(self._folder.root),
            "broker": masked(self._settings.broker),
            "queues": list(self._settings.queues),
            "processes": [self._process(number, now) for number in self._crew.runs],
        }

    def _process(self, number: int, now: float) -> dict[str, Any]:
        run = self._crew.runs[number]
        post = self._crew.posts[run.place]
        return {
            "name": run.name,
            "place": run.place.name,
            "role": run.place.role,
            "lane": run.place.lane,
            "index": run.place.index,
            "generation": run.generation,
            "pid": run.pid,
            "state": run.phase.name.lower(),
            "uptime": round(now - run.since, 1),
            "silence": round(now - run.beat_at, 1) if run.beat_at else None,
            "restarts": post.restarts if post.run == number else 0,
            **self._members.facts(number),
        }
