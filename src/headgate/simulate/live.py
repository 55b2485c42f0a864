"""The live view of a run on a terminal: progress, rate, percentiles of the last moments, errors."""

from __future__ import annotations

from collections import Counter, deque
from types import TracebackType
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from headgate.simulate.amounts import show_seconds
from headgate.simulate.histogram import Histogram
from headgate.simulate.orders import Pulse
from headgate.simulate.plan import Plan
from headgate.simulate.report import HARD

RECENT: Final = 10
"""Pulses that the shown percentiles cover: about five seconds."""
BARS: Final = "▁▂▃▄▅▆▇█"
HISTORY: Final = 60
LINE_SECONDS: Final = 10.0


class LiveView:
    """Draws on stderr while the run goes on; a disabled one only listens.

    Where stderr is no terminal it writes a line now and then instead: a build's log has no cursor.

    Args:
        plan: the run, for its length and its number of users.
        enabled: draw.
    """

    def __init__(self, plan: Plan, *, enabled: bool, console: Console | None = None) -> None:
        self._plan = plan
        self._latest: dict[int, Pulse] = {}
        self._recent: dict[int, deque[dict[str, str]]] = {}
        self._answered: deque[tuple[float, int]] = deque(maxlen=2 * HISTORY)
        self._console = console or Console(stderr=True)
        self._enabled = enabled
        drawn = enabled and self._console.is_terminal
        self._live = Live(console=self._console, refresh_per_second=4, transient=True) if drawn else None
        self._said = ("", 0.0)
        self.stderr = ""

    def __enter__(self) -> LiveView:
        if self._live is not None:
            self._live.start()
            self._live.update(Text("connecting…"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def keep_stderr(self, text: str) -> None:
        """Keep what the scenario printed until the view is gone."""
        self.stderr += text

    def pulse(self, pulse: Pulse) -> None:
        """A generator process says how it goes."""
        self._latest[pulse.index] = pulse
        kept = self._recent.setdefault(pulse.index, deque(maxlen=RECENT))
        kept.append(pulse.recent)
        if pulse.index == min(self._latest):
            self._answered.append((pulse.at, self.totals["answered"]))
        if self._live is not None:
            self._live.update(self.render())
        elif self._enabled:
            self._say(pulse.phase, pulse.at)

    def _say(self, phase: str, at: float) -> None:
        said, when = self._said
        if phase != said or at - when >= LINE_SECONDS:
            self._said = (phase, at)
            pulses = list(self._latest.values())
            done = f"{max(at, 0):.0f} / {self._plan.load.seconds:.0f} s" if phase != "connecting" else ""
            parts = (self._people(pulses), " · ", self._pace(), " · ", self._generator(pulses), " · ", self._trouble())
            line = Text.assemble(f"{phase} {done} ", *parts)
            self._console.print(line, soft_wrap=True)

    @property
    def totals(self) -> Counter[str]:
        """All processes' counters together."""
        totals: Counter[str] = Counter()
        for pulse in self._latest.values():
            totals.update(pulse.counts)
        return totals

    def render(self) -> Group:
        """The picture as it stands."""
        pulses = list(self._latest.values())
        at = max(pulse.at for pulse in pulses)
        phase = pulses[0].phase
        people = Text.assemble(self._people(pulses), " · ", self._pace())
        trouble = Text.assemble(self._trouble(), " · ", self._generator(pulses))
        return Group(self._progress(phase, at), people, self._latencies(), trouble)

    def _progress(self, phase: str, at: float) -> Table:
        seconds = self._plan.load.seconds
        row = Table.grid(padding=(0, 2))
        done = min(max(at, 0), seconds) if phase != "connecting" else 0
        bar = ProgressBar(total=seconds, completed=done, width=40)
        row.add_row(Text(f"{phase:<10}", style="bold cyan"), bar, f"{done:.0f} / {seconds:.0f} s")
        return row

    def _people(self, pulses: list[Pulse]) -> Text:
        connected = sum(pulse.connected for pulse in pulses)
        waiting = sum(pulse.outstanding for pulse in pulses)
        return Text(f"{connected} of {self._plan.load.most_users} users connected · {waiting} clicks under way")

    def _pace(self) -> Text:
        return Text(f"{self._rate():.0f} answers/s {self._sparkline()}".rstrip())

    def _generator(self, pulses: list[Pulse]) -> Text:
        cpu = max(pulse.cpu for pulse in pulses)
        lag = max(pulse.lag for pulse in pulses)
        style = "yellow" if lag > self._plan.options.max_lag or cpu > 0.9 else "dim"
        return Text(f"generator CPU {cpu:.0%}, worst lag {show_seconds(lag)}", style=style)

    def _rates(self) -> list[float]:
        pairs = zip(self._answered, list(self._answered)[1:], strict=False)
        return [max(n1 - n0, 0) / max(t1 - t0, 0.1) for (t0, n0), (t1, n1) in pairs]

    def _rate(self) -> float:
        last = self._rates()[-4:]
        return sum(last) / len(last) if last else 0.0

    def _sparkline(self) -> str:
        rates = self._rates()[-24:]
        top = max(rates, default=0) or 1
        return "".join(BARS[min(int(rate / top * 7.99), 7)] for rate in rates)

    def _latencies(self) -> Table:
        table = Table(box=None, header_style="dim", pad_edge=False)
        for name in ("last 5 s", "count", "p50", "p90", "p99", "max"):
            table.add_column(name, justify="left" if name == "last 5 s" else "right", min_width=8)
        for name, histogram in sorted(self._merged().items()):
            found = histogram.percentiles((50.0, 90.0, 99.0))
            shown = [show_seconds(t) for t in (*found.values(), histogram.max)]
            table.add_row(name, str(histogram.count), *shown)
        return table

    def _merged(self) -> dict[str, Histogram]:
        merged: dict[str, Histogram] = {}
        for pulses in self._recent.values():
            for recent in pulses:
                for name, text in recent.items():
                    merged.setdefault(name, Histogram(2)).add(Histogram.decode(text))
        return merged

    def _trouble(self) -> Text:
        totals = self.totals
        names = (*HARD, "errors", "disconnects", "connect_failed")
        parts = [f"{name} {totals[name]}" for name in names if totals[name]]
        return Text(" · ".join(parts) or "no errors", style="red" if parts else "green")
