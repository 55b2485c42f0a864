"""A run as it was asked for, checked and completed before anything starts."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from headgate.simulate.amounts import Rate, parse_rate
from headgate.simulate.errors import BadInput
from headgate.simulate.faults import ON_SERVER, Fault, parse_fault
from headgate.simulate.load import find_scenario, for_protocol
from headgate.simulate.orders import Spec
from headgate.simulate.scenario import Scenario
from headgate.simulate.slo import Slo, parse_slo
from headgate.simulate.stages import Load, Stage, plan
from headgate.simulate.wire.choose import host_and_port, protocol_of
from headgate.simulate.wire.source import PORTS_PER_ADDRESS, is_loopback, loopback_sources

USERS_PER_PROCESS: Final = 5_000
CLICKS_PER_PROCESS: Final = 3_000.0
MOST_USERS: Final = 1_000_000


@dataclass(slots=True)
class Options:
    """What a run is asked to be. None takes the scenario's own value; times are in seconds.

    Args:
        target: ws://, wss://, http://, https:// URL.
        scenario: `clicks`, a file, or `module:Class` (see `load.find_scenario`).
        params: passed to the scenario.
        protocol: auto (by the URL), websocket, socketio, socketio-polling, socketio-upgrade, http.
        users, rate, heavy, seconds, stages, faults, slo, ordered: override the scenario's.
        seed: of all schedules; None draws one, which the report names.
        warmup: seconds at the start whose clicks are not timed.
        drain: how long to wait at the end for answers under way; what has not come by then is lost.
        timeout: for connecting and shaking hands.
        connect_rate: connections opened per second before the start.
        processes: generator processes; None chooses by users, rate and cores.
        sources: source addresses 127.0.0.1 … 127.0.0.n; None uses as many as the ports call for.
        max_lag: p99 lag of the generator above which the run is invalid (see `report.judge`).
        data: the data folder of a local Headgate, whose status is sampled and which faults act on.
    """

    target: str
    scenario: str = "clicks"
    params: Mapping[str, Any] = field(default_factory=dict)
    protocol: str = "auto"
    users: int | None = None
    rate: str | None = None
    heavy: float | None = None
    seconds: float | None = None
    stages: Sequence[Stage] = ()
    faults: Sequence[str] = ()
    slo: Sequence[str] = ()
    ordered: bool | None = None
    pace: str | None = None
    seed: int | None = None
    warmup: float = 0.0
    drain: float = 30.0
    timeout: float = 10.0
    connect_rate: float = 400.0
    processes: int | None = None
    sources: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    insecure: bool = False
    max_lag: float = 0.010
    data: str | None = None


@dataclass(slots=True)
class Plan:
    """A checked run."""

    options: Options
    kind: type[Scenario]
    protocol: str
    load: Load
    rate: Rate
    heavy: float
    seed: int
    processes: int
    sources: list[str]
    faults: list[str]
    slos: list[Slo]
    overrides: dict[str, Any]

    @property
    def server_faults(self) -> list[Fault]:
        return [f for f in map(parse_fault, self.faults) if f.kind in ON_SERVER]

    def spec(self, index: int, shared: Any) -> Spec:
        """The order for one generator process."""
        options = self.options
        return Spec(
            target=options.target,
            protocol=self.protocol,
            scenario=options.scenario,
            params=dict(options.params),
            shared=shared,
            overrides=self.overrides,
            users=self.load.users.corners,
            rate=self.load.rate.corners,
            heavy=self.heavy,
            seed=self.seed,
            warmup=options.warmup,
            drain=options.drain,
            timeout=options.timeout,
            connect_rate=options.connect_rate,
            sources=self.sources,
            headers=dict(options.headers),
            insecure=options.insecure,
            faults=self.faults,
            index=index,
            processes=self.processes,
        )


def make_plan(options: Options) -> Plan:
    """Check a run and fill in what was left open.

    Raises:
        BadInput: something cannot be understood or makes no sense.
        ScenarioError: the scenario's file raises.
    """
    protocol = protocol_of(options.target, options.protocol)
    options = replace(options, scenario=for_protocol(options.scenario, protocol))
    kind = find_scenario(options.scenario)
    rate = parse_rate(options.rate if options.rate is not None else kind.rate)
    users = options.users if options.users is not None else kind.users
    seconds = options.seconds if options.seconds is not None else kind.seconds
    load = plan(users, rate, seconds, options.stages or kind.stages)
    _check(options, load)
    heavy = options.heavy if options.heavy is not None else kind.heavy
    if not 0 <= heavy <= 1:
        raise BadInput(f"the heavy share {heavy:g} lies outside 0 to 1")
    faults = list(options.faults or kind.faults)
    _check_faults(faults, load, options)
    return Plan(
        options=options,
        kind=kind,
        protocol=protocol,
        load=load,
        rate=rate,
        heavy=heavy,
        seed=options.seed if options.seed is not None else random.SystemRandom().randrange(2**32),
        processes=options.processes or _processes(load),
        sources=_sources(options, load),
        faults=faults,
        slos=[parse_slo(text) for text in (options.slo or kind.slo)],
        overrides=_overrides(options),
    )


def _overrides(options: Options) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if options.ordered is not None:
        found["ordered"] = options.ordered
    if options.pace is not None:
        if options.pace not in ("poisson", "even"):
            raise BadInput(f"the pace {options.pace!r} is unknown; use poisson or even")
        found["pace"] = options.pace
    return found


def _check(options: Options, load: Load) -> None:
    if load.most_users > MOST_USERS:
        raise BadInput(f"{load.most_users} users are more than the {MOST_USERS} possible here")
    if options.warmup >= load.seconds:
        raise BadInput(f"the warm-up of {options.warmup:g} s leaves nothing of a run of {load.seconds:g} s")
    for name in ("drain", "timeout", "connect_rate", "max_lag"):
        value = getattr(options, name)
        if not math.isfinite(value) or value < 0 or (value == 0 and name != "drain"):
            raise BadInput(f"{name} must be above zero, not {value:g}")
    if options.processes is not None and not 1 <= options.processes <= 64:
        raise BadInput(f"{options.processes} processes are asked for; 1 to 64 are possible")


def _check_faults(faults: Sequence[str], load: Load, options: Options) -> None:
    for text in faults:
        fault = parse_fault(text)
        if fault.at >= load.seconds:
            raise BadInput(f"fault {text!r} comes after the run's end at {load.seconds:g} s")
        if fault.kind not in ON_SERVER:
            continue
        if not is_loopback(host_and_port(options.target)[0]):
            raise BadInput(f"fault {text!r} acts on a local Headgate; {options.target} is not local")
        if options.data is not None and not Path(options.data).is_dir():
            raise BadInput(f"fault {text!r}: there is no data folder {options.data!r}")


def _processes(load: Load) -> int:
    wanted = max(load.most_users / USERS_PER_PROCESS, load.clicks_per_second / CLICKS_PER_PROCESS)
    return max(1, min(math.ceil(wanted), os.cpu_count() or 1))


def _sources(options: Options, load: Load) -> list[str]:
    host, _ = host_and_port(options.target)
    if options.sources is not None and options.sources > 1:
        if not is_loopback(host):
            raise BadInput(f"--sources spreads over 127.0.0.x; {host} is not on this machine")
        return loopback_sources(options.sources)
    if is_loopback(host) and load.most_users > PORTS_PER_ADDRESS:
        return loopback_sources(math.ceil(load.most_users / PORTS_PER_ADDRESS))
    return []
