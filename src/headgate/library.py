"""The package as a library: what `import headgate` gives to code that runs under any server, or none.

This is a composition root, like the roles: the one place outside of them that joins declarations with an engine.
"""

from __future__ import annotations

import atexit

from headgate.base.errors import ConfigError, NotHosted
from headgate.config.load import load
from headgate.config.settings import Settings
from headgate.declare import binding
from headgate.declare.client import Client
from headgate.declare.context import current_job
from headgate.declare.extension import Headgate
from headgate.drivers.bridge import Bridge

__all__ = ["Headgate", "connect", "current_job"]


def connect(url: str | None = None, *, data: str | None = None, secret: str | None = None) -> Client:
    """Connect this process to an engine; its declarations use that one from now on.

    Args:
        url: as the setting `broker`; default that setting.
        data: the data folder of a Headgate on this machine; default the setting `data`.
        secret: signs job addresses; default the setting, or the one in the data folder.

    Raises:
        ConfigError: the settings are wrong, or no engine goes by that name.
        Unavailable: the engine does not answer.
    """
    settings = load({"broker": url, "data": data, "secret": secret}).settings
    bridge, bound = _bind(settings)

    def close() -> None:
        binding.unbind()
        bridge.close()

    return Client(bound, close)


def _bind(settings: Settings) -> tuple[Bridge, binding.Binding]:
    from headgate.roles.carriers import rq_url
    from headgate.roles.choose import open_bridge

    bridge = open_bridge(settings.broker, settings.data, settings)
    bridge.open()
    atexit.register(bridge.close)
    bound = binding.bind(
        bridge,
        secret=lambda: secret_of(settings),
        root_path=settings.root_path,
        url_ttl=settings.result_ttl,
        rq_url=rq_url(settings.broker, settings),
    )
    return bridge, bound


def secret_of(settings: Settings) -> str:
    """The secret that signs job addresses: the setting, else the one that the supervisor made.

    Raises:
        NotHosted: there is neither.
    """
    if settings.secret:
        return settings.secret
    try:
        return settings.folder.secret.read_text().strip()
    except OSError as exc:
        raise NotHosted(
            f"the secret that signs job addresses cannot be read ({exc}); start `headgate run` once with this data "
            "folder, point HEADGATE_DATA at the right one, or set HEADGATE_SECRET"
        ) from None


def _connector() -> binding.Binding:
    try:
        return _bind(load().settings)[1]
    except ConfigError as exc:
        raise NotHosted(f"the engine cannot be found from here: {exc}") from exc


binding.install_connector(_connector)
