"""What `--fail-on-block` does in a run of pytest."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from headgate.base.errors import ConfigError
from headgate.watch.allowed import Baseline, Place, complaint, rules
from headgate.watch.blocking import counts, settle
from headgate.watch.durations import seconds_of
from headgate.watch.install import install
from headgate.watch.model import Incident
from headgate.watch.process import Options, Watch
from headgate.watch.switches import Switches


class Session:
    """Registered when the option is given.

    Raises:
        pytest.UsageError: an option is wrong.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._root = Path(config.rootpath)
        self._found: list[Incident] = []
        self._seen: set[Place] = set()
        self._watch: Watch | None = None
        self._switches: Switches | None = None
        try:
            self._rules = rules(config.getini("block_allow"))
            path = config.getoption("--block-baseline")
            self._baseline = Baseline(self._root / path) if path else None
            self._begin(str(config.getoption("--fail-on-block")))
        except (ConfigError, ValueError) as exc:
            raise pytest.UsageError(f"--fail-on-block: {exc}") from exc
        self._updates = bool(config.getoption("--update-block-baseline"))
        if self._updates and (self._baseline is None or hasattr(config, "workerinput")):
            raise pytest.UsageError("--update-block-baseline needs --block-baseline FILE, and one process (no xdist)")

    def _begin(self, text: str) -> None:
        if text == "any":
            self._switches = Switches()
            self._switches.install()
            return
        options = Options(
            name="pytest",
            limit=seconds_of(text),
            handler_limit=3600.0,
            log=None,
            hear=self._found.append,
            rests=False,
        )
        self._watch = install(options)
        if self._watch.options is not options:
            raise ConfigError("this process is watched already; run the tests without `headgate watch run`")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        return (yield from self._watched(item, None))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        return (yield from self._watched(item, item.runtest))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        return (yield from self._watched(item, None))

    def _watched(self, item: pytest.Item, again: Any) -> Generator[None, Any, Any]:
        self._found.clear()
        if self._switches is not None:
            self._switches.slept.clear()
        result = yield
        told = [each for each in self._stalls(again) if not self._allowed(item, each)]
        if told:
            pytest.fail(complaint(told), pytrace=False)
        return result

    def _stalls(self, again: Any) -> list[Incident]:
        if self._watch is not None:
            settle(self._watch)
            return [each for each in self._found if counts(each)]
        assert self._switches is not None
        if not self._switches.slept or again is None:
            return []
        return _once(self._switches.profiled(again))

    def _allowed(self, item: pytest.Item, incident: Incident) -> bool:
        place = Place.of(incident, self._root)
        self._seen.add(place)
        for marker in item.iter_markers("allow_block"):
            if not marker.kwargs.get("reason"):
                raise pytest.UsageError(f"{item.nodeid}: allow_block needs a reason=")
            if place.matches(marker.kwargs.get("match") or "*"):
                return True
        if any(place.matches(rule.pattern) for rule in self._rules):
            return True
        return self._updates or (self._baseline is not None and place in self._baseline.places)

    def pytest_sessionfinish(self) -> None:
        """Write the baseline, if that was asked for."""
        if self._updates and self._baseline is not None:
            self._baseline.write(self._seen)

    def pytest_unconfigure(self) -> None:
        """End the watch."""
        if self._watch is not None:
            self._watch.stop()
        if self._switches is not None:
            self._switches.remove()

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say which places a baseline still names though they no longer block."""
        if self._baseline is None or self._updates:
            return
        gone = self._baseline.places - self._seen
        if gone and not hasattr(self._config, "workerinput"):
            terminalreporter.write_line(
                f"headgate watch: {len(gone)} places of the baseline did not block in this run; "
                "--update-block-baseline takes them out"
            )


def _once(incidents: list[Incident]) -> list[Incident]:
    """One incident for each place: a loop may have slept there a thousand times."""
    found: dict[tuple[str, int, str], Incident] = {}
    for each in incidents:
        found.setdefault((each.file, each.number, each.call), each)
    return list(found.values())
