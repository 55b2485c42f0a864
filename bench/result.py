"""What a benchmark hands back: plain data, written as JSON and rendered into the reference page."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"


@dataclass
class Table:
    """Rows of cells that are shown as they are."""

    title: str
    columns: list[str]
    rows: list[list[str]]


@dataclass
class Ratio:
    """One statement with a number, and the bar that it has to reach where there is one.

    `met` is None for a statement without a bar.
    """

    text: str
    value: str
    bar: str = ""
    met: bool | None = None


@dataclass
class Plot:
    """Bars of one quantity, longest last to be read as less is better or more is better (`better`)."""

    title: str
    unit: str
    bars: dict[str, float]
    better: str = "less"
    logarithmic: bool = False


def machine() -> dict[str, str]:
    """What the numbers were measured on."""
    cpu = next((line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if "model name" in line), "unknown")
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    release = dict(line.split("=", 1) for line in _lines("/etc/os-release") if "=" in line)
    return {
        "processor": f"{cpu}, {os.cpu_count()} cores",
        "memory": f"{memory / 1024**2:.0f} GiB",
        "system": f"{release.get('PRETTY_NAME', platform.system()).strip(chr(34))}, Linux {platform.release()}",
        "python": platform.python_version(),
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return []


@dataclass
class Result:
    """One run of one benchmark."""

    name: str
    title: str
    question: str
    setup: list[str]
    tables: list[Table]
    ratios: list[Ratio]
    plots: list[Plot]
    versions: dict[str, str]
    raw: dict[str, Any] = field(default_factory=dict)
    date: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))
    machine: dict[str, str] = field(default_factory=machine)

    def write(self) -> Path:
        """Write `bench/results/NAME.json`."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}.json"
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")
        return path


def read(path: Path) -> Result:
    """A result from its file."""
    data = json.loads(path.read_text())
    data["tables"] = [Table(**table) for table in data["tables"]]
    data["ratios"] = [Ratio(**ratio) for ratio in data["ratios"]]
    data["plots"] = [Plot(**plot) for plot in data["plots"]]
    return Result(**data)


def first_line(*command: str) -> str:
    """The first line that a program prints about itself (`nginx -v` prints it to stderr)."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().split("\n")[0]


def median_row(rows: list[dict[str, float]]) -> dict[str, float]:
    """The median of each number over the rounds."""
    return {key: median(row[key] for row in rows) for key in rows[0]}


def milliseconds(seconds: float) -> str:
    """Three figures of a time: 0.734, 17.6, 2,945."""
    value = seconds * 1000
    if value != value or value == float("inf"):
        return "never"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
