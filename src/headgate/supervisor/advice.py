"""What a choice of settings gives up, said once at the start: the choice may be right, and should be a known one."""

from __future__ import annotations

from headgate.config.settings import Settings


def given_up(settings: Settings) -> list[str]:
    """One line for each choice that gives something up."""
    if "app" not in settings.roles or (settings.lanes and settings.slow_workers):
        return []
    if settings.workers > 1:
        return [
            f"The lanes are off: {settings.workers} app workers run everything, so a slow handler holds up fast ones "
            "as soon as it has their threads."
        ]
    return [
        f"One app process runs everything (workers = 1, lanes off), as an app needs that keeps state in its memory. "
        f"Given up for it: slow handlers hold up fast ones once they have all {settings.threads} threads; Python code "
        "runs on one core; a crash or a reload begins with an empty memory, and during a reload two processes "
        "each have their own. What is kept in sock.state, a stream or a database needs none of this."
    ]
