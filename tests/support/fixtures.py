"""The fixtures: servers start when first asked for, and a failed test's folder is kept."""

from __future__ import annotations

import itertools
import re
import shutil
import tempfile
import textwrap
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.support.chromium import Chromium, Page
from tests.support.headgate import Headgate
from tests.support.nginx import Nginx
from tests.support.postgres import Postgres
from tests.support.redis import Redis
from tests.support.wait import free_port

ARTIFACTS = Path(__file__).resolve().parents[1] / ".artifacts"
FAILED = pytest.StashKey[bool]()
_numbers = itertools.count(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
    """Note on the test that a phase of it failed, so that `workdir` knows whether to keep its folder."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


def keep(folder: Path, test: str) -> Path:
    """Move a failed test's folder under tests/.artifacts (sockets cannot be kept, and tell nothing)."""
    target = ARTIFACTS / re.sub(r"[^A-Za-z0-9_.-]+", "_", test).strip("_")[-120:]
    shutil.rmtree(target, ignore_errors=True)

    def unkeepable(parent: str, names: list[str]) -> list[str]:
        return [name for name in names if not ((path := Path(parent, name)).is_file() or path.is_dir())]

    shutil.copytree(folder, target, ignore=unkeepable, dirs_exist_ok=True)
    return target


@pytest.fixture
def workdir(request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty folder with a path short enough for Unix sockets (108 bytes); kept when the test fails."""
    folder = Path(tempfile.mkdtemp(prefix="hg-", dir="/tmp"))
    try:
        yield folder
        if request.node.stash.get(FAILED, False):
            print(f"kept for you: {keep(folder, request.node.nodeid)}")  # noqa: T201 - pytest shows it with the failure
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class StartHeadgate(Protocol):
    """Start a Headgate for this test.

    `app` is the source of a module (then hosted as `app:app`), or a target `module:app` within `app_folder`.
    """

    def __call__(
        self,
        app: str,
        *options: str,
        app_folder: Path | None = None,
        env: dict[str, str] | None = None,
        ready: bool = True,
    ) -> Headgate: ...


@pytest.fixture
def headgate_server(workdir: Path, request: pytest.FixtureRequest) -> Iterator[StartHeadgate]:
    """Start `headgate run` and get a `Headgate`; at the end nothing of it may be left behind."""
    with ExitStack() as stack:

        def start(
            app: str,
            *options: str,
            app_folder: Path | None = None,
            env: dict[str, str] | None = None,
            ready: bool = True,
        ) -> Headgate:
            home = workdir / f"h{next(_numbers)}"
            home.mkdir()
            target = app
            if "\n" in app:
                (home / "app.py").write_text(textwrap.dedent(app))
                target = "app:app"
            server = Headgate(target, home, *options, app_folder=app_folder, env=env, ready=ready)
            return stack.enter_context(server)

        try:
            yield start
            stack.close()
        except BaseException:
            request.node.stash[FAILED] = True  # what was left behind is for the reader of the folder
            raise


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL for the whole run."""
    with Postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """The URL of a database of this test's own, empty."""
    name = f"test_{next(_numbers)}"
    yield postgres.create(name)
    postgres.drop(name)


@pytest.fixture(scope="session")
def redis_process() -> Iterator[Redis]:
    """One Redis for the whole run; `redis_url` empties it for each test."""
    with Redis() as server:
        yield server


@pytest.fixture
def redis_url(redis_process: Redis) -> str:
    """The URL of an empty Redis."""
    redis_process.flush()
    return redis_process.url


@pytest.fixture
def redis_server() -> Iterator[Callable[..., Redis]]:
    """Start a Redis of this test's own, to be killed, filled or made durable: `redis_server(options)`."""
    with ExitStack() as stack:
        yield lambda options=None: stack.enter_context(Redis(options))


@pytest.fixture
def nginx_server() -> Iterator[Callable[[str], Nginx]]:
    """Start nginx with an `http` block in which `{port}` stands for the port it shall listen on."""
    with ExitStack() as stack:

        def start(http: str) -> Nginx:
            port = free_port()
            return stack.enter_context(Nginx(http.replace("{port}", str(port)), port))

        yield start


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """One headless browser for the whole run."""
    with Chromium() as browser:
        yield browser


@pytest.fixture
def page(chromium: Chromium) -> Iterator[Page]:
    """A new tab of 1280 × 800."""
    with chromium.page() as tab:
        yield tab
