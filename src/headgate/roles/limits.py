"""The bounds of an engine, from the settings."""

from __future__ import annotations

from headgate.config.settings import Settings
from headgate.drivers.local.store import Limits


def limits_of(settings: Settings) -> Limits:
    """What the settings say of leases, depths and sizes."""
    return Limits(
        lease=settings.job_lease,
        queue_depth=settings.queue_depth,
        arguments_bytes=settings.job_arguments_bytes,
        checkpoint_bytes=settings.job_arguments_bytes,
        stream_events=settings.stream_events,
        stream_bytes=settings.stream_bytes,
        stream_age=settings.stream_age,
        stream_ttl=settings.stream_ttl,
        job_stream_events=settings.job_stream_events,
        job_stream_bytes=settings.job_stream_bytes,
    )
