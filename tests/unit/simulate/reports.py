"""Reports made by hand."""

from __future__ import annotations

from typing import Any

from headgate.simulate.histogram import Histogram
from headgate.simulate.report import GeneratorHealth, Mark, Moment, Report, Sample, Second, latency


def make_report(series: dict[str, Histogram], **fields: Any) -> Report:
    """A valid, passed run of ten seconds with these latencies."""
    given: dict[str, Any] = {
        "headgate": "0",
        "target": "ws://127.0.0.1:1/",
        "protocol": "websocket",
        "scenario": "clicks",
        "seed": 1,
        "users": 10,
        "rate": "1/user",
        "heavy": 0.05,
        "load_users": [(0.0, 10.0), (10.0, 10.0)],
        "load_rate": [(0.0, 1.0), (10.0, 1.0)],
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": 10.0,
        "connected_at_start": 10,
        "connected_at_end": 10,
        "series": {name: latency(histogram) for name, histogram in series.items()},
        "timeline": [],
        "counts": {},
        "closes": {},
        "lost_by_cause": {},
        "marks": [],
        "generator": GeneratorHealth(
            processes=1,
            lag_p99=0.0005,
            lag_max=0.001,
            loop_lag_p99=0.0005,
            loop_lag_max=0.001,
            cpu_mean=0.1,
            cpu_max=0.2,
            cpu=[[(0.5, 0.1), (1.0, 0.2)]],
        ),
        "server": [],
        "objectives": [],
        "invalid": [],
    }
    return Report(**{**given, **fields})


def busy_report(**fields: Any) -> Report:
    """One with something in every part, and hostile text wherever text comes from outside."""
    click, result = Histogram(), Histogram()
    for millis in range(1, 1000):
        click.record(millis / 1000)
        result.record(millis / 100)
    seconds = [
        Second(
            at=at,
            counts={"clicks": 10 + at, "answered": 10, "lost": 1},
            series={"click": Moment(count=10, p50=0.001, p99=0.02 * (at + 1), max=0.3)},
        )
        for at in range(-1, 10)
    ]
    return make_report(
        {"click": click, "update.result": result, "click.service": click},
        **{
            "target": 'ws://127.0.0.1:1/<script>"&',
            "timeline": seconds,
            "counts": {"clicks": 999, "lost": 3, "lost.click": 3, "errors": 1, "errors.HTTP 503": 1},
            "closes": {"1011 <b>oops</b>": 1},
            "lost_by_cause": {"answer never came": 3},
            "marks": [Mark(2.0, "reconnect <storm>"), Mark(9.5, "reload")],
            "server": [Sample(at=float(t), values={"memory (MB): app.fast.0": 50.0 + t}) for t in range(10)],
            **fields,
        },
    )
