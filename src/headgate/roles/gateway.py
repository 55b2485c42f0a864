"""The gateway's process: `python -m headgate.roles.gateway`, started by the supervisor."""

from __future__ import annotations

from headgate.base.errors import ConfigError
from headgate.config.settings import Settings
from headgate.gateway.gateway import Gateway
from headgate.roles.choose import is_shared, open_engine
from headgate.roles.machine import Deaths, Here, member
from headgate.supervisor.child import Child, serve
from headgate.supervisor.memory import give_back_early


def service(child: Child) -> Gateway:
    """A gateway as the supervisor wants it."""
    settings = child.settings
    if child.link is None:
        raise ConfigError("a gateway needs its link socket, and the supervisor gave it none")
    engine = open_engine(settings.broker, settings.data, settings, member=member(child))
    gateway = Gateway(
        settings,
        index=child.index,
        listeners=child.listeners,
        link=child.link,
        engine=engine,
        secret=_secret(settings),
        publish_stats=child.report,
        takes_over=child.takes_over,
    )
    child.on_message("begin", lambda _: gateway.begin.set())
    child.on_message("successor", lambda _: gateway.hand_on())
    if is_shared(settings.broker):
        child.on_message("worker_died", Deaths(settings, engine, Here()).heard)
    return gateway


def _secret(settings: Settings) -> str:
    if settings.secret:
        return settings.secret
    path = settings.folder.secret
    try:
        return path.read_text().strip()
    except OSError as exc:
        raise ConfigError(f"the secret in {path} cannot be read ({exc.strerror}); `headgate run` makes it") from exc


def main() -> None:
    """Run the role; does not return."""
    give_back_early()
    serve(service)


if __name__ == "__main__":
    main()
