"""Examinations as a whole: the story's deployment, what is left alone, and the forms of the report."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headgate.base.errors import ConfigError
from headgate.config.settings import Settings
from headgate.deploy.folder import write
from headgate.deploy.plan import make
from headgate.deploy.releases import release
from headgate.deploy.render import render
from headgate.doctor import gather
from headgate.doctor.case import Case
from headgate.doctor.examine import Examination, examine, ignored_by_project
from headgate.doctor.model import Change, Finding, Place
from headgate.doctor.report import as_json, as_sarif, diff
from headgate.doctor.rules import RULES
from headgate.readers.commands import Server
from tests.doctor.deployments import nginx, unit
from tests.support.postgres import Postgres
from tests.support.redis import Redis

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def examined(folder: Path) -> Examination:
    return examine(gather.folders([folder]), base=folder)


def ids(examination: Examination) -> list[str]:
    return [found.rule for found in examination.findings]


@pytest.fixture
def story(tmp_path: Path) -> Path:
    """The story's service as it was deployed: Eventlet, one worker, the update in the socket's handler."""
    shutil.copy(EXAMPLES / "story" / "app.py", tmp_path / "app.py")
    (tmp_path / "requirements.txt").write_text("gunicorn==25.3.0\neventlet==0.40.4\npsycopg[binary]\nflask-sock\n")
    (tmp_path / "orders.service").write_text(
        unit("gunicorn -k eventlet -w 1 -b 127.0.0.1:8000 --graceful-timeout 120 app:app")
    )
    (tmp_path / "nginx.conf").write_text(nginx())
    return tmp_path


def test_the_storys_deployment_names_its_failures_causes_first(story: Path) -> None:
    found = ids(examined(story))
    assert found[:2] == ["psycopg3-eventlet", "work-in-socket-handler"]
    assert {"nginx-no-upgrade", "nginx-http10", "stop-timeout", "gunicorn-timeout", "limit-nofile"} <= set(found)
    first = examined(story).findings[0]
    assert [place.path for place in first.places] == ["app.py", "orders.service"]
    assert first.places[0].text == "import psycopg"


def test_headgates_own_examples_are_well() -> None:
    """An app that Headgate hosts is examined without a false alarm."""
    assert ids(examined(EXAMPLES / "demo")) == []


def test_a_comment_keeps_a_rule_off_a_line(tmp_path: Path) -> None:
    source = "import time\nasync def handler():\n    time.sleep(1)  # headgate: ignore blocking-in-async - a test's\n"
    (tmp_path / "app.py").write_text(source)
    found = examined(tmp_path)
    assert (ids(found), found.suppressed) == ([], 1)
    (tmp_path / "app.py").write_text(source.replace("ignore blocking-in-async", "ignore debug-on"))
    assert ids(examined(tmp_path)) == ["blocking-in-async"]
    (tmp_path / "app.py").write_text(source.replace("ignore blocking-in-async", "ignore debug-on, blocking-in-async"))
    assert ids(examined(tmp_path)) == []


def test_a_project_may_leave_rules_out(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import time\nasync def handler():\n    time.sleep(1)\n")
    (tmp_path / "pyproject.toml").write_text('[tool.headgate-doctor]\nignore = ["blocking-in-async"]\n')
    left_out = ignored_by_project(tmp_path)
    assert examine(gather.folders([tmp_path]), left_out, tmp_path).findings == []
    (tmp_path / "pyproject.toml").write_text('[tool.headgate-doctor]\nignore = "all"\n')
    with pytest.raises(ConfigError, match="is a list of rules"):
        ignored_by_project(tmp_path)


def test_an_unknown_rule_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no rule 'blocking'"):
        examine(gather.folders([tmp_path]), ["blocking"])


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not there"):
        gather.folders([tmp_path / "nothing"])


def test_what_cannot_be_parsed_is_noted_and_the_rest_examined(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text("print 'Python 2'\n")
    (tmp_path / "nginx.conf").write_text("http { server {\n")
    (tmp_path / "app.py").write_text("import time\nasync def handler():\n    time.sleep(1)\n")
    found = examined(tmp_path)
    assert ids(found) == ["blocking-in-async"]
    assert any("old.py" in note for note in found.notes)


def test_drop_ins_and_continued_lines_of_units_count(tmp_path: Path) -> None:
    (tmp_path / "s.service").write_text(
        "[Service]\nExecStart=/usr/bin/gunicorn \\\n   --graceful-timeout 60 \\\n   app:app\nTimeoutStopSec=10\n"
    )
    assert "stop-timeout" in ids(examined(tmp_path))
    (tmp_path / "s.service.d").mkdir()
    (tmp_path / "s.service.d" / "stop.conf").write_text("[Service]\nTimeoutStopSec=90\n")
    assert "stop-timeout" not in ids(examined(tmp_path))


def test_the_command_line_counts_more_than_the_configuration_file(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("from flask_socketio import SocketIO\nsocketio = SocketIO()\n")
    (tmp_path / "gunicorn.conf.py").write_text("workers = 4\n")
    (tmp_path / "Dockerfile").write_text('FROM python\nCMD ["gunicorn", "-w", "1", "app:app"]\n')
    assert "socketio-workers" not in ids(examined(tmp_path))
    (tmp_path / "Dockerfile").write_text('FROM python\nCMD ["gunicorn", "app:app"]\n')
    assert "socketio-workers" in ids(examined(tmp_path))


def gunicorns(*paths: Path) -> list[Server]:
    return gather.folders(paths).web("gunicorn")


def test_a_configuration_counts_once_in_whatever_order_it_is_named(tmp_path: Path) -> None:
    config, service = tmp_path / "gunicorn.conf.py", tmp_path / "s.service"
    config.write_text("workers = 4\n")
    service.write_text(unit("gunicorn app:app"))
    for paths in ((config, service), (service, config), (tmp_path,), (tmp_path, config)):
        (server,) = gunicorns(*paths)
        assert server.number("workers", 1) == 4
    assert len(gunicorns(config, config)) == 1, "the same file named twice is one"


@pytest.mark.parametrize(
    "flag", ["-c gunicorn_conf.py", "--config /srv/shop/gunicorn_conf.py", "-cfile:gunicorn_conf.py"]
)
def test_a_configuration_by_another_name_counts_with_the_command_that_names_it(flag: str, tmp_path: Path) -> None:
    (tmp_path / "gunicorn_conf.py").write_text("workers = 4\nthreads = 3\n")
    (tmp_path / "s.service").write_text(unit(f"gunicorn {flag} -w 2 app:app", "Environment=WEB_CONCURRENCY=9"))
    (server,) = gunicorns(tmp_path)
    assert (server.number("workers", 1), server.number("threads", 1)) == (2, 3)
    (tmp_path / "s.service").write_text(unit(f"gunicorn {flag} app:app", "Environment=WEB_CONCURRENCY=9"))
    (server,) = gunicorns(tmp_path)
    assert server.number("workers", 1) == 4, "WEB_CONCURRENCY is a default only"


def test_configurations_of_two_services_are_two(tmp_path: Path) -> None:
    for name, workers in (("a", 2), ("b", 3)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "gunicorn.conf.py").write_text(f"workers = {workers}\n")
    (tmp_path / "a/a.service").write_text(unit("gunicorn app:app"))
    assert sorted(server.number("workers", 1) for server in gunicorns(tmp_path)) == [2, 3]


def test_a_configuration_that_is_missing_is_noted_and_the_rest_examined(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("from flask_socketio import SocketIO\nsocketio = SocketIO()\n")
    (tmp_path / "s.service").write_text(unit("gunicorn -c /nowhere/gunicorn.conf.py -w 4 app:app"))
    found = examined(tmp_path)
    assert "socketio-workers" in ids(found)
    assert found.notes == [
        "/nowhere/gunicorn.conf.py, which s.service:2 names; gunicorn's defaults are taken for what it says"
    ]
    (tmp_path / "s.service").write_text(unit("gunicorn -c gunicorn.conf.py app:app"))
    (tmp_path / "gunicorn.conf.py").write_text("import os\nworkers = int(os.environ['W'])\n")
    assert examined(tmp_path).notes == [], "it is there, and says nothing that can be read"


def test_a_generated_deployment_is_no_second_one(tmp_path: Path) -> None:
    """What `headgate deploy` has written is a proposal, unless it is named itself."""
    (tmp_path / "s.service").write_text(unit("gunicorn app:app"))
    write(render(make("shop:app", "shop.example.com", release("el9"), Settings())), tmp_path / "deploy-el9")
    case = gather.folders([tmp_path])
    assert [server.kind for server in case.servers] == ["gunicorn"]
    assert not case.nginx
    assert case.notes == [f"{tmp_path / 'deploy-el9'}, which headgate deploy wrote; name it to have it read"]
    named = gather.folders([tmp_path / "deploy-el9"])
    assert {server.kind for server in named.servers} == {"headgate"}
    (tmp_path / "deploy-el9/README.md").unlink()
    assert len(gather.folders([tmp_path]).servers) == 1


def test_the_forms_for_programs(story: Path) -> None:
    found = examined(story)
    plain = as_json(found)
    assert [each["rule"] for each in plain["findings"]] == ids(found)
    assert plain["findings"][0]["places"][0] == {"path": "app.py", "line": 6, "text": "import psycopg"}
    sarif = as_sarif(found, "1.0")
    (run,) = sarif["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rules[each["ruleIndex"]]["id"] for each in run["results"]] == ids(found)
    region = run["results"][0]["locations"][0]["physicalLocation"]
    assert region == {"artifactLocation": {"uri": "app.py"}, "region": {"startLine": 6}}
    json.dumps([plain, sarif])


def test_a_one_line_fix_is_a_diff_that_applies(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("bind = 'unix:/run/a'\nforwarded_allow_ips = '*'\n")
    (found,) = examined(tmp_path).findings
    patch = diff(found) + "\n"
    subprocess.run(["git", "apply", "-"], input=patch, text=True, cwd=tmp_path, check=True, timeout=30)
    assert (tmp_path / "gunicorn.conf.py").read_text().endswith("forwarded_allow_ips = '127.0.0.1'\n")
    assert examined(tmp_path).findings == []


def test_a_measured_value_has_no_diff() -> None:
    place = Place("/proc/net/tcp")
    assert diff(Finding("time-wait", "many", (place,), change=Change(place, "a", "b"))) == ""


def test_a_real_database_and_a_real_redis_are_asked(postgres: Postgres, redis_process: Redis, tmp_path: Path) -> None:
    source = (
        "import rq\nfrom sqlalchemy import create_engine\nengine = create_engine('postgresql://x', pool_size=400)\n"
    )
    (tmp_path / "app.py").write_text(source)
    (tmp_path / "gunicorn.conf.py").write_text("workers = 1\n")
    case = gather.folders([tmp_path])
    gather.ask_database(case, postgres.url().replace("postgresql:", "postgresql+psycopg:"))
    gather.ask_redis(case, redis_process.url)
    assert case.redis["maxmemory-policy"].text == "noeviction"
    (found,) = (found for found in examine(case).findings if found.rule == "pool-over-limit")
    assert "400 + 10 overflow) = 410, and max_connections is 200" in found.message


@pytest.mark.parametrize(
    ("ask", "url"),
    [
        (gather.ask_database, "postgresql+psycopg://u:secret@127.0.0.1:1/x"),
        (gather.ask_redis, "redis://:secret@127.0.0.1:1/0"),
    ],
)
def test_a_server_that_is_away_is_told_without_its_password(ask: Callable[[Case, str], Case], url: str) -> None:
    with pytest.raises(ConfigError, match="does not answer") as told:
        ask(Case(), url)
    assert "secret" not in str(told.value)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_what_runs_here_is_found_with_its_own_options(tmp_path: Path) -> None:
    """A process that looks like gunicorn's master, with a worker of its own, on this very machine."""
    program = tmp_path / "gunicorn"
    program.write_text("import os, time\nos.fork()\ntime.sleep(60)\n")
    command = [sys.executable, str(program), "--threads", "2", "shop:app"]
    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True) as running:
        try:
            deadline = time.monotonic() + 10
            found: list[Server] = []
            while len(found) != 1 and time.monotonic() < deadline:
                case = gather.live(Case())
                found = [server for server in case.servers if server.pid == running.pid]
            (server,) = found
            assert (server.kind, server.worker_class, server.words) == ("gunicorn", "gthread", ("shop:app",))
            assert case.host.descriptors[running.pid] > 0
        finally:
            os.killpg(running.pid, 9)


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headgate", "doctor", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


DESK = """
import time
from flask_socketio import Namespace

class Desk({base}):
    def {handler}(self, data):
        self._wait()

    def _wait(self):
        time.sleep({seconds})
"""


@pytest.mark.parametrize(
    ("base", "handler", "seconds", "found"),
    [
        ("Namespace", "on_reprice", 3, ["on_reprice() in app.py sleeps 3 s"]),
        ("Namespace", "on_reprice", 0.1, []),
        ("Namespace", "reprice", 3, []),
        ("Other", "on_reprice", 3, []),
    ],
)
def test_long_work_of_a_namespace(base: str, handler: str, seconds: float, found: list[str], tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(DESK.format(base=base, handler=handler, seconds=seconds))
    findings = [each for each in examined(tmp_path).findings if each.rule == "work-in-socket-handler"]
    assert [each.message for each in findings] == found


def test_long_work_of_a_factorys_handler(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import time\nfrom flask import Flask\nfrom flask_sock import Sock\n"
        "def create_app():\n    app = Flask(__name__)\n    sock = Sock(app)\n"
        "    @sock.route('/a')\n    def desk(ws):\n        time.sleep(3)\n    return app\n"
    )
    assert "work-in-socket-handler" in ids(examined(tmp_path))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("gunicorn<26", None),
        ("gunicorn <= 25.9 ; python_version > '3'  # x<26", None),
        ("gunicorn>=20,<26.0", None),
        ("gunicorn!=25.1,<26", None),
        ("gunicorn~=25.0", None),
        ("gunicorn[gevent]==25.*", None),
        ("gunicorn<26.1", "gunicorn<26.1"),
        ("gunicorn<=26", "gunicorn<=26"),
        ("gunicorn>=20,!=25.1", "gunicorn 20"),
        ("gunicorn!=25.1", "gunicorn!=25.1"),
        ("gunicorn  # <26", "gunicorn without a pin"),
    ],
)
def test_how_a_requirement_is_bounded(line: str, told: str | None, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(f"{line}\n")
    (tmp_path / "s.service").write_text(unit("gunicorn -k eventlet app:app"))
    found = [found.message for found in examined(tmp_path).findings if found.rule == "gunicorn-eventlet"]
    assert found == ([f"the eventlet worker with {told}"] if told else [])


def test_the_command(story: Path) -> None:
    told = run(cwd=story)
    assert told.returncode == 1
    assert told.stdout.index("psycopg 3 under eventlet") < told.stdout.index("A socket handler does long work itself")
    assert "errors" in told.stdout.splitlines()[-1]
    assert run("--fail-level", "never", cwd=story).returncode == 0
    assert json.loads(run("--format", "sarif", cwd=story).stdout)["version"] == "2.1.0"
    assert run("--ignore", "nonsense", cwd=story).returncode == 2


def test_the_command_on_a_sound_folder(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import flask\napp = flask.Flask(__name__)\n")
    told = run(cwd=tmp_path)
    assert (told.returncode, told.stdout) == (0, f"Nothing found by {len(RULES)} rules.\n")
    assert run("--rules", cwd=tmp_path).stdout.count("\n") > len(RULES)
