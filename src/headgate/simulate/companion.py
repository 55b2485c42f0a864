"""Finds the local Headgate behind a target: named by its data folder, or the default one if it listens there."""

from __future__ import annotations

from headgate.config.settings import Settings
from headgate.simulate.errors import BadInput
from headgate.simulate.plan import Plan
from headgate.simulate.server import LocalHeadgate
from headgate.simulate.wire.choose import host_and_port
from headgate.simulate.wire.source import is_loopback


async def find_companion(plan: Plan) -> LocalHeadgate | None:
    """What samples the server and causes its faults; None when the target is not a known Headgate.

    Raises:
        BadInput: faults shall hit the server, or a data folder is named, and no Headgate is there.
    """
    host, port = host_and_port(plan.options.target)
    named = plan.options.data
    if named is None and not is_loopback(host):
        return None
    folder = named if named is not None else str(Settings().data)
    companion = LocalHeadgate(folder, plan.server_faults)
    # A named one may stand behind a proxy, whose port is the target's.
    if await companion.serves(port if named is None else None):
        return companion
    if named is None and not plan.server_faults:
        return None
    raise BadInput(
        f"no Headgate that runs on the data folder {folder!r} answers for port {port};"
        " name the folder of the running one with --data"
    )
