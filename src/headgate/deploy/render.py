"""From a plan to files: the templates with the plan in them. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import Any, Final

from headgate.base.errors import ConfigError
from headgate.config.settings import DECLARED, Settings
from headgate.deploy.plan import Plan
from headgate.deploy.releases import HARDENING

BACKLOG: Final = 4_096
CHECKSUMS: Final = "generated.sha256"
"""Beside the files: what was generated, in sha256sum's form."""
UNIT_FOLDER: Final = "etc/systemd/system"
_DERIVED: Final = frozenset({"app", "bind", "data", "broker", "roles", "trusted_proxies", "secret", "reload"})
"""Settings that the plan itself gives."""


@dataclass(frozen=True)
class File:
    """A file of the deployment.

    Args:
        path: within the folder; below `root/` as on the system.
        text: its content.
        mode: its permissions.
    """

    path: PurePosixPath
    text: str
    mode: int = 0o644

    @property
    def target(self) -> PurePosixPath | None:
        """Where it goes on the system; None for what stays in the folder."""
        parts = self.path.parts
        return PurePosixPath("/", *parts[1:]) if parts[0] == "root" else None


@cache
def _templates() -> Any:
    try:
        import jinja2
    except ImportError:
        raise ConfigError("headgate deploy needs jinja2: pip install 'headgate[deploy]'.") from None
    return jinja2.Environment(
        loader=jinja2.PackageLoader("headgate.deploy"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - these are configuration files, and the plan has checked its names
    )


def render(plan: Plan) -> list[File]:
    """All files of the deployment, in the order of their paths.

    Raises:
        ConfigError: jinja2 is not installed.
    """
    placed = list(_files(plan))
    return sorted([*placed, *_packages(plan, placed)], key=lambda file: str(file.path))


def _files(plan: Plan) -> Iterator[File]:
    name = plan.name
    units = f"root/{UNIT_FOLDER}"
    rest = _render("service-rest.j2", plan, hardening=_hardening(plan))
    yield _file(f"{units}/{name}.socket", "socket.j2", plan)
    yield _file(f"{units}/{name}-web.service", "web.service.j2", plan, rest=rest)
    yield _file(f"{units}/{name}-jobs.service", "jobs.service.j2", plan, rest=rest)
    for title, cpu, io, low, high, top, what in _SLICES:
        yield _file(
            f"{units}/{name}-{title}.slice",
            "slice.j2",
            plan,
            title=title,
            cpu=cpu,
            io=io,
            low=low,
            high=high,
            top=top,
            what=what,
        )
    yield _file(f"{units}/nginx.service.d/{name}.conf", "nginx-limits.conf.j2", plan)
    if plan.own_broker:
        yield _file(f"{units}/{name}-backup.service", "backup.service.j2", plan, hardening=_hardening(plan))
        yield _file(f"{units}/{name}-backup.timer", "backup.timer.j2", plan)
        yield _file(f"root{plan.home}/bin/backup.py", "backup.py.j2", plan, mode=0o755)
    yield _file(
        f"root{plan.etc}/headgate.toml", "headgate.toml.j2", plan, 0o640, settings=list(_changed(plan.settings))
    )
    yield _file(f"root/etc/nginx/conf.d/{name}.conf", "nginx.conf.j2", plan)
    yield _file(f"root/etc/sysctl.d/60-{name}.conf", "sysctl.conf.j2", plan)
    yield _file(f"root/etc/sysusers.d/{name}.conf", "sysusers.conf.j2", plan)
    yield _file(f"root/etc/tmpfiles.d/{name}.conf", "tmpfiles.conf.j2", plan)
    yield _file(f"root/etc/systemd/journald.conf.d/{name}.conf", "journald.conf.j2", plan)
    yield _file(f"root/etc/logrotate.d/{name}", "logrotate.j2", plan)
    if plan.release.firewalld:
        yield _file(f"root/etc/firewalld/services/{name}.xml", "firewalld.xml.j2", plan)
    if plan.release.selinux:
        module = module_of(plan)
        yield _file(f"selinux/{module}.te", "selinux.te.j2", plan)
        yield _file(f"selinux/{module}.fc", "selinux.fc.j2", plan)
        yield _file("selinux/Makefile", "selinux.Makefile.j2", plan)
    yield _file("README.md", "README.md.j2", plan)


def _packages(plan: Plan, placed: list[File]) -> Iterator[File]:
    """The same deployment as an RPM, where there are RPMs, and as an Ansible role."""
    if plan.release.selinux:
        yield _file(f"rpm/{plan.name}.spec", "rpm.spec.j2", plan)
        yield _file("rpm/build.sh", "rpm.build.sh.j2", plan, mode=0o755)
    role = f"ansible/roles/{module_of(plan)}"
    paths = [str(file.target).lstrip("/") for file in placed if file.target is not None]
    yield _file("ansible/site.yml", "ansible.site.yml.j2", plan)
    yield _file(f"{role}/tasks/main.yml", "ansible.tasks.yml.j2", plan, paths=sorted(paths))
    yield _file(f"{role}/handlers/main.yml", "ansible.handlers.yml.j2", plan)
    yield _file(f"{role}/defaults/main.yml", "ansible.defaults.yml.j2", plan)
    yield _file(f"{role}/meta/main.yml", "ansible.meta.yml.j2", plan)


_SLICES: Final = (
    ("web", 200, 200, "20%", "80%", "90%", "Requests and sockets: they go first."),
    ("jobs", 20, 20, "", "50%", "60%", "Jobs: they get what requests leave over, and their memory is bounded."),
)


def module_of(plan: Plan) -> str:
    """The SELinux module's name, and the beginning of its types': letters, digits and _ alone."""
    return plan.name.replace("-", "_")


def _file(path: str, template: str, plan: Plan, mode: int = 0o644, **more: Any) -> File:
    return File(PurePosixPath(path), _render(template, plan, **more), mode)


def _render(template: str, plan: Plan, **more: Any) -> str:
    text = (
        _templates()
        .get_template(template)
        .render(
            plan=plan,
            backlog=BACKLOG,
            backup=f"/var/backups/{plan.name}",
            module=module_of(plan),
            var=module_of(plan),
            http2_directive=plan.release.nginx >= (1, 25),
            spare="4,096 more",
            checksums=CHECKSUMS,
            labelled=f"{plan.home} {plan.etc} {plan.state} {plan.socket.parent}",
            # Up to EL9, policies write /run as /var/run, and look it up so.
            run=f"/var{plan.socket.parent}" if plan.release.key in ("el8", "el9") else str(plan.socket.parent),
            **more,
        )
    )
    return str(text)


def _hardening(plan: Plan) -> list[tuple[str, str]]:
    """The directives that the system's systemd knows, without those that the app cannot live with."""
    return [
        (directive, value)
        for directive, value, since in HARDENING
        if since <= plan.release.systemd and not (plan.write_execute and directive == "MemoryDenyWriteExecute")
    ]


def _changed(settings: Settings) -> Iterator[str]:
    """Lines of TOML for the settings that are not defaults; the plan's own apart."""
    from headgate.config.explain import written

    for declared in DECLARED.values():
        value = getattr(settings, declared.key)
        if declared.key not in _DERIVED and value != declared.default and not declared.option.secret:
            yield f"{declared.key} = {written(value)}"
