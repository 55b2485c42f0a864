"""Where settings come from, which one wins, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headgate.base.errors import ConfigError
from headgate.config.load import as_environment, load
from headgate.config.settings import DECLARED, Settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[tool.headgate]\nthreads = 1\nworkers = 1\njobs = 1\ndata = "one"\n')
    (tmp_path / "headgate.toml").write_text("threads = 2\nworkers = 2\njobs = 2\n")
    return tmp_path


def test_flags_before_environment_before_our_file_before_pyproject(folder: Path) -> None:
    loaded = load(
        {"threads": "4", "app": None}, folder=folder, environ={"HEADGATE_THREADS": "3", "HEADGATE_WORKERS": "3"}
    )
    chosen = loaded.settings
    assert (chosen.threads, chosen.workers, chosen.jobs, chosen.data) == (4, 3, 2, "one")
    assert loaded.origins == {
        "threads": "flag --threads",
        "workers": "environment HEADGATE_WORKERS",
        "jobs": "headgate.toml",
        "data": "pyproject.toml [tool.headgate]",
    }


def test_without_anything_there_are_defaults(tmp_path: Path) -> None:
    loaded = load(folder=tmp_path, environ={"PATH": "/bin"})
    assert loaded.settings == Settings()
    assert loaded.origins == {}


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("stop_timeout", "30", 30.0),
        ("stop_timeout", "500ms", 0.5),
        ("stop_timeout", "1.5 m", 90.0),
        ("stop_timeout", "2h", 7200.0),
        ("result_ttl", "7d", 604_800.0),
        ("max_body", "64MiB", 64 * 2**20),
        ("max_body", "1000", 1000),
        ("max_body", "1.5kb", 1500),
        ("max_body", "2 G", 2 * 2**30),
        ("fast_ms", "12.5", 12.5),
        ("threads", "12", 12),
        ("reload", "yes", True),
        ("reload", "OFF", False),
        ("bind", "127.0.0.1:1, unix:/a", ("127.0.0.1:1", "unix:/a")),
        ("roles", "app,jobs", ("app", "jobs")),
        ("lane", "GET /report?a=b=slow, ws /x=fast", {"GET /report?a=b": "slow", "ws /x": "fast"}),
        ("log_level", "debug", "debug"),
    ],
)
def test_text_is_read_by_the_type_of_its_setting(tmp_path: Path, key: str, text: str, value: Any) -> None:
    settings = load(folder=tmp_path, environ={f"HEADGATE_{key.upper()}": text}).settings
    assert getattr(settings, key) == value


def test_toml_has_types_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "headgate.toml").write_text(
        'bind = "127.0.0.1:1"\nmax_body = "1MiB"\nstop_timeout = 5\nreload = true\nqueues = ["a", "b"]\n'
        '[lane]\n"GET /report" = "slow"\n'
    )
    settings = load(folder=tmp_path, environ={}).settings
    assert settings.bind == ("127.0.0.1:1",)
    assert (settings.max_body, settings.stop_timeout, settings.reload) == (2**20, 5.0, True)
    assert (settings.queues, settings.lane) == (("a", "b"), {"GET /report": "slow"})


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("worker = 2", 'headgate.toml: there is no setting "worker". Did you mean "workers"?'),
        ("stop-timeout = 2", 'there is no setting "stop-timeout". Did you mean "stop_timeout"?'),
        ("zzzzzzzz = 2", 'there is no setting "zzzzzzzz". `headgate config` lists all settings.'),
        ('workers = "two"', "headgate.toml: workers is 'two', which is not a whole number."),
        ("workers = 2.5", "workers is 2.5, which is not a whole number."),
        ("workers = true", "workers is True, which is not a whole number."),
        ("workers = 0", "workers is 0; it must be at least 1."),
        ('stop_timeout = "soon"', "stop_timeout is 'soon', which is not a time: a number of seconds, or text such as"),
        ('stop_timeout = "3 parsecs"', "which is not a time"),
        ('max_body = "64 seconds"', "max_body is '64 seconds', which is not a size"),
        ('fast_ms = "fast"', "which is not a number of milliseconds"),
        ('reload = "yes"', "reload is 'yes', which is not true or false"),
        ("bind = 8000", "bind is 8000, which is not a list of texts"),
        ('roles = ["app", "cook"]', "which is not a list of broker | gateway | app | jobs"),
        ('log_level = "loud"', "which is not debug | info | warning | error"),
        ('lane = {"GET /" = "medium"}', "which is not a table of handler = fast | slow"),
        ("workers = ", "headgate.toml cannot be read"),
        ("[headgate]\nworkers = 2", "not in a table: leave out the line [headgate]"),
    ],
)
def test_what_is_wrong_is_told_with_what_is_right(tmp_path: Path, toml: str, message: str) -> None:
    (tmp_path / "headgate.toml").write_text(toml + "\n")
    with pytest.raises(ConfigError) as told:
        load(folder=tmp_path, environ={})
    assert message in str(told.value)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"HEADGATE_WORKER": "1"},
            'environment: there is no setting "HEADGATE_WORKER". Did you mean "HEADGATE_WORKERS"?',
        ),
        (
            {"HEADGATE_RELOAD": "perhaps"},
            "environment HEADGATE_RELOAD: reload is 'perhaps', which is not true or false",
        ),
        ({"HEADGATE_THREADS": "many"}, "environment HEADGATE_THREADS: threads is 'many', which is not a whole number"),
        ({"HEADGATE_LANE": "GET /"}, "which is not a table of handler"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, environ: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as told:
        load(folder=tmp_path, environ=environ)
    assert message in str(told.value)


def test_a_wrong_flag_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="flag --threads: threads is 'x', which is not a whole number"):
        load({"threads": "x"}, folder=tmp_path, environ={})


def test_pyproject_of_another_tool_is_no_matter(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.other]\nworkers = 3\n")
    assert load(folder=tmp_path, environ={}).origins == {}


def test_the_child_variable_is_no_setting(tmp_path: Path) -> None:
    assert load(folder=tmp_path, environ={"HEADGATE_CHILD": "{}"}).origins == {}


@pytest.mark.parametrize("key", DECLARED)
def test_every_default_survives_its_own_type(tmp_path: Path, key: str) -> None:
    default = DECLARED[key].default
    flag = default if not isinstance(default, str) else str(default)
    assert getattr(load({key: flag}, folder=tmp_path, environ={}).settings, key) == default


def test_another_file_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "headgate.toml").write_text("threads = 3\n")
    (tmp_path / "shop.toml").write_text("workers = 5\n")
    loaded = load(folder=tmp_path, environ={"HEADGATE_CONFIG": str(tmp_path / "shop.toml")})
    assert (loaded.settings.workers, loaded.settings.threads) == (5, 8)
    assert loaded.origins["workers"] == str(tmp_path / "shop.toml")
    with pytest.raises(ConfigError, match=r"HEADGATE_CONFIG names nowhere\.toml, and there is no such file"):
        load(folder=tmp_path, environ={"HEADGATE_CONFIG": "nowhere.toml"})


def test_another_process_gets_the_same_settings_whatever_its_files_say(folder: Path) -> None:
    flags = {"lane": "GET /report?a=b=slow", "queues": "a,b", "reload": "yes", "stop_timeout": "1.5 m", "threads": "8"}
    settings = load(flags, folder=folder, environ={}).settings
    assert load(folder=folder, environ=as_environment(settings)).settings == settings
    assert load(folder=folder, environ=as_environment(Settings())).settings == Settings()
