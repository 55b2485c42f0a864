"""A report as Prometheus text (exposition format 0.0.4), for a textfile collector or a push gateway."""

from __future__ import annotations

from headgate.simulate.errors import ExitCode
from headgate.simulate.report import Report


def prometheus_text(report: Report) -> str:
    """The latencies as summaries, the counters, the generator's health and the verdict."""
    base = {"target": report.target, "scenario": report.scenario}
    lines = [
        "# HELP headgate_simulate_latency_seconds Time from the intended click (.service: from sending).",
        "# TYPE headgate_simulate_latency_seconds summary",
    ]
    name = "headgate_simulate_latency_seconds"
    for series, latency in report.series.items():
        labels = {**base, "series": series}
        for percent, value in latency.percentiles.items():
            quantile = {"quantile": f"{float(percent) / 100:g}"}
            lines.append(_line(name, {**labels, **quantile}, value))
        lines.append(_line(f"{name}_sum", labels, latency.mean * latency.count))
        lines.append(_line(f"{name}_count", labels, latency.count))
    lines += [
        "# HELP headgate_simulate_events_total What was counted during the run.",
        "# TYPE headgate_simulate_events_total counter",
    ]
    for counter, count in report.counts.items():
        lines.append(_line("headgate_simulate_events_total", {**base, "event": counter}, count))
    gauges = {
        "users": (report.users, "Simulated users."),
        "seconds": (report.seconds, "Length of the clicking."),
        "generator_lag_seconds": (report.generator.lag_p99, "p99 lag of the generator itself."),
        "valid": (int(report.valid), "1 when the generator was not the bottleneck."),
        "passed": (int(report.exit_code == ExitCode.PASSED), "1 when every objective was met."),
    }
    for gauge, (value, text) in gauges.items():
        full = f"headgate_simulate_{gauge}"
        lines += [f"# HELP {full} {text}", f"# TYPE {full} gauge", _line(full, base, value)]
    return "\n".join(lines) + "\n"


def _line(name: str, labels: dict[str, str], value: float) -> str:
    inner = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
    return f"{name}{{{inner}}} {value!r}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
