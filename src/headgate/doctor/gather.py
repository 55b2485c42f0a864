"""Gathers the facts: of folders and files, of the running system, of a database and a Redis that may be asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from headgate.base.errors import ConfigError
from headgate.doctor.case import Case
from headgate.doctor.model import Place
from headgate.readers import commands, host, nginx, packages, python, units
from headgate.readers.value import Value

_SKIPPED: Final = frozenset(
    {
        ".git",
        ".venv",
        "venv",
        "env",
        "node_modules",
        "__pycache__",
        ".tox",
        ".nox",
        ".headgate",
        "site-packages",
        "dist",
    }
)
_MOST_FILES: Final = 20_000
_MOST_BYTES: Final = 2 << 20
_UNIT_SUFFIXES: Final = (".service", ".socket", ".slice", ".timer")
_STARTS: Final = re.compile(
    r"^procfile$|dockerfile|containerfile|\.sh$|compose.*\.ya?ml$|\.ks$|\.spec$|playbook.*\.ya?ml$"
)
_GUNICORN: Final = re.compile(r"^gunicorn.*(?:\.conf|_conf|_config)\.py$")
_DEFAULT: Final = "gunicorn.conf.py"
_MADE: Final = "Made by `headgate deploy`"
_CHECKSUMS: Final = "generated.sha256"
_INSTALLS: Final = re.compile(r"\b(?:dnf|yum|microdnf)\s+(?:-y\s+)?install\s+(.*)")


def folders(paths: Iterable[Path]) -> Case:
    """Read folders or single files.

    Raises:
        ConfigError: one is not there; or an nginx configuration is, and crossplane is not.
    """
    case = Case()
    seen: dict[Path, str] = {}
    for path in paths:
        if not path.exists():
            raise ConfigError(f"{path} is not there: name a folder or file to look at.")
        base = path if path.is_dir() else path.parent
        for file in _files(path, case):
            if file.resolve() not in seen:
                shown = seen[file.resolve()] = _shown(file, base)
                _take(case, file, shown)
        if path.is_dir():
            _environments(case, path)
    for file, shown in seen.items():
        if _GUNICORN.search(file.name):
            _take_gunicorn(case, file, shown)
    _note_missing(case, {file.name for file in seen})
    return case


def _shown(file: Path, base: Path) -> str:
    return str(file.relative_to(base)) if file.is_relative_to(base) else str(file)


def _files(path: Path, case: Case) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    count = 0
    stack = [path]
    while stack:
        try:
            entries = sorted(stack.pop().iterdir())
        except OSError as exc:
            case.notes.append(f"{exc.filename} cannot be read: {exc.strerror}")
            continue
        for entry in entries:
            if entry.is_dir() and not entry.is_symlink():
                if _generated(entry):
                    case.notes.append(f"{entry}, which headgate deploy wrote; name it to have it read")
                elif entry.name not in _SKIPPED:
                    stack.append(entry)
            elif entry.is_file() and entry.stat().st_size <= _MOST_BYTES:
                count += 1
                if count > _MOST_FILES:
                    case.notes.append(f"{path} holds more than {_MOST_FILES} files; the rest was not read")
                    return
                yield entry


def _generated(folder: Path) -> bool:
    """Whether it is a folder of `headgate deploy`: a proposal, and no deployment beside the one that is there."""
    if not (folder / "root").is_dir():
        return False
    try:
        return _MADE in (folder / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return (folder / _CHECKSUMS).exists()


def _take(case: Case, file: Path, shown: str) -> None:
    """Read one file, by its name."""
    name = file.name.lower()
    if file.suffix == ".py":
        _take_python(case, file, shown)
    elif name.endswith(_UNIT_SUFFIXES) or "supervisor" in name:
        unit = units.read(file, shown)
        if unit is not None:
            case.units.append(unit)
            case.servers += commands.in_unit(unit)
    elif file.suffix == ".conf":
        _take_conf(case, file, shown)
    elif name.startswith("requirements") and file.suffix in (".txt", ".in"):
        _know(case, packages.in_requirements(file, shown))
    elif name == "pyproject.toml":
        _know(case, packages.in_project(file, shown))
    elif _STARTS.search(name):
        case.servers += commands.in_text(file, shown)
        _installs(case, file, shown)


def _take_conf(case: Case, file: Path, shown: str) -> None:
    name = file.name.lower()
    if "redis" in name or "valkey" in name:
        _lines(case.redis, file, shown, r"^([\w-]+)\s+(.+)$")
    elif name.startswith("postgresql"):
        _lines(case.postgres, file, shown, r"^(\w+)\s*=?\s*'?([^'#]+)'?")
    elif "sysctl" in shown:
        _lines(case.sysctl, file, shown, r"^([\w./-]+)\s*=\s*(.+)$")
    elif _looks_like_nginx(file):
        root = nginx.read(file, shown)
        if root is not None:
            case.nginx.append(root)


def _take_python(case: Case, file: Path, shown: str) -> None:
    if _GUNICORN.search(file.name):
        return  # it counts with the command that reads it, which may be in a file that comes later
    module = python.read(file, shown)
    if module is None:
        case.notes.append(f"{shown} is not Python that can be parsed")
    else:
        case.modules.append(module)


def _take_gunicorn(case: Case, file: Path, shown: str) -> None:
    """A configuration counts with the commands that read it; alone it tells enough of a server."""
    options = commands.config_of(file, shown)
    known = False
    for server in case.web("gunicorn"):
        if Path(_config_of(server)).name != file.name:
            continue
        read = _read_by(server)
        if not read:  # the path holds where it is deployed, and not here
            server.options = options | _given(server)
        known = known or all(name in options and options[name].text == value.text for name, value in read.items())
    if options and not known:
        case.servers.append(commands.Server("gunicorn", Place(shown, 1, file.name), options))


def _config_of(server: commands.Server) -> str:
    """The configuration file that gunicorn reads, as its command names it."""
    named = server.get("config")
    return _DEFAULT if named is None else named.text.removeprefix("file:")


def _read_by(server: commands.Server) -> dict[str, Value]:
    """Of a server's options those that its configuration file has given."""
    return {name: value for name, value in server.options.items() if value.place.path == _config_of(server)}


def _given(server: commands.Server) -> dict[str, Value]:
    """Of a server's options those that count more than its configuration file: all but WEB_CONCURRENCY."""
    less = server.unit.environment().get("WEB_CONCURRENCY") if server.unit is not None else None
    return {name: value for name, value in server.options.items() if less is None or value != less}


def _note_missing(case: Case, names: set[str]) -> None:
    """A configuration that a command names and that is nowhere here: it is said, and gunicorn's defaults hold."""
    for server in case.web("gunicorn"):
        config = Path(_config_of(server))
        near = server.unit is not None and (server.unit.path.parent / config).exists()
        there = config.name in names or near or (config.is_absolute() and config.exists())
        if server.get("config") is not None and not there and ":" not in str(config) and not _read_by(server):
            case.notes.append(f"{config}, which {server.place} names; gunicorn's defaults are taken for what it says")


def _looks_like_nginx(file: Path) -> bool:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return re.search(r"^\s*(?:server|http|location|upstream|events|map)\b[^;\n]*\{", text, re.MULTILINE) is not None


def _lines(into: dict[str, Value], file: Path, shown: str, pattern: str) -> None:
    """Lines of `key value`; the last one of a key counts."""
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        found = re.match(pattern, line.strip())
        if found and not line.strip().startswith("#"):
            into[found.group(1).lower()] = Value(found.group(2).strip(), Place(shown, number, line.strip()))


def _installs(case: Case, file: Path, shown: str) -> None:
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        for found in _INSTALLS.findall(line):
            case.spec += [Value(word, Place(shown, number, line.strip())) for word in found.split()]


def _know(case: Case, found: Iterable[packages.Package]) -> None:
    """Of two words on a package, the one that tells more."""
    for package in found:
        known = case.packages.get(package.name)
        if known is None or package.tells > known.tells:
            case.packages[package.name] = package


def _environments(case: Case, folder: Path) -> None:
    for site in folder.glob("*venv*/lib/python3*/site-packages"):
        _know(case, packages.installed(site, str(site.relative_to(folder))))


def live(case: Case, root: Path = Path("/")) -> Case:
    """Add what the running system says."""
    case.host, running = host.look(root)
    case.servers += running
    return case


def system(case: Case, root: Path = Path("/")) -> Case:
    """Add the configuration of this machine: systemd, nginx, Redis, sysctl."""
    for folder in ("etc/systemd/system", "usr/lib/systemd/system"):
        for file in sorted((root / folder).glob("*.service")) if (root / folder).is_dir() else ():
            if file.is_file() and _starts_a_server(file):
                _take(case, file, str(file))
    for name in ("etc/nginx/nginx.conf", "etc/redis/redis.conf", "etc/redis.conf", "etc/valkey/valkey.conf"):
        if (root / name).is_file():
            _take(case, root / name, str(root / name))
    for file in sorted((root / "etc/sysctl.d").glob("*.conf")):
        _take(case, file, str(file))
    return case


def _starts_a_server(file: Path) -> bool:
    unit = units.read(file, str(file))
    return unit is not None and any(True for _ in commands.in_unit(unit))


def ask_database(case: Case, url: str) -> Case:
    """Ask a PostgreSQL or MySQL server how many connections it allows.

    Raises:
        ConfigError: SQLAlchemy or the driver is missing, or the server does not answer.
    """
    try:
        import sqlalchemy as sa
    except ImportError:
        raise ConfigError("Asking a database needs SQLAlchemy: pip install 'headgate[bulk]'.") from None
    try:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            question = "SHOW max_connections" if engine.dialect.name == "postgresql" else "SELECT @@max_connections"
            limit = connection.execute(sa.text(question)).scalar_one()
    except (sa.exc.SQLAlchemyError, ImportError) as exc:
        raise ConfigError(f"The database does not answer: {' '.join(str(exc).split())[:300]}") from None
    shown = sa.make_url(url).render_as_string(hide_password=True)
    case.postgres["max_connections"] = Value(str(limit), Place(shown, 0, f"max_connections = {limit}"))
    return case


def ask_redis(case: Case, url: str) -> Case:
    """Ask a Redis for its memory policy and persistence.

    Raises:
        ConfigError: redis-py is missing, or the server does not answer.
    """
    try:
        import redis
    except ImportError:
        raise ConfigError("Asking a Redis needs redis-py: pip install 'headgate[redis]'.") from None
    try:
        client = redis.Redis.from_url(url, socket_timeout=5, decode_responses=True)
        found = client.info("memory") | client.info("persistence")
    except (redis.RedisError, ValueError) as exc:
        raise ConfigError(f"The Redis at {_without_password(url)} does not answer: {exc}") from None
    for key, name in (("maxmemory_policy", "maxmemory-policy"), ("maxmemory", "maxmemory")):
        if key in found:
            text = str(found[key])
            case.redis[name] = Value(text, Place(_without_password(url), 0, f"{name} = {text}"))
    return case


def _without_password(url: str) -> str:
    return re.sub(r"//[^@/]*@", "//…@", url)
