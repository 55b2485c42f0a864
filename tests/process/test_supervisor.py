"""The supervisor with real processes: stand-ins that boot, crash, hang, dawdle and die on demand."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from headgate.base.errors import Unavailable
from headgate.config.settings import Settings
from headgate.supervisor.control import Question, Reply, ask
from headgate.supervisor.system import look
from tests.support import wait
from tests.support.marked import bearers, new_mark
from tests.support.process import Process
from tests.support.wait import accepts, free_port

PATIENCE = 45.0
"""Seconds: five interpreters start in each of these tests, also on a loaded machine."""
SUPERVISE = Path(__file__).with_name("supervise.py")
ROLES = {"broker-0": 1, "gateway-0": 1, "app-fast-0": 1, "app-slow-0": 1, "jobs-0": 1}


T = TypeVar("T")


def until(condition: Callable[[], T], what: str, seconds: float = PATIENCE, every: float = 0.05) -> T:
    """As `tests.support.wait.until`, with more patience."""
    return wait.until(condition, what, seconds, every)


class Supervised:
    """A supervisor of stand-ins in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        traits: str = "",
        env: dict[str, str] | None = None,
        wrap: tuple[str, ...] = (),
        **settings: Any,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        defaults: dict[str, Any] = {"bind": (f"127.0.0.1:{self.port}",), "gateways": 1, "workers": 1, "jobs": 1}
        self.settings = Settings(**{**defaults, "data": str(folder / "d"), **settings})
        self.mark = new_mark()
        self.traits(traits)
        command = [*wrap, sys.executable, str(SUPERVISE), msgspec.json.encode(self.settings).decode()]
        self.process = Process("supervisor", command, folder, env={**self.mark, **(env or {})}, cwd=folder)

    def traits(self, traits: str) -> None:
        """What the stand-ins started from now on will be like."""
        (self.folder / "traits").write_text(traits)

    def diary(self) -> list[str]:
        """What the stand-ins wrote, `place generation pid what …`."""
        path = self.folder / "diary"
        return path.read_text().splitlines() if path.exists() else []

    def lines(self, pattern: str) -> list[str]:
        return [line for line in self.diary() if re.search(pattern, line)]

    def serves(self, pattern: str = " ready$", count: int = len(ROLES)) -> list[int]:
        """Wait for so many lines; returns their pids."""
        until(lambda: len(self.lines(pattern)) >= count, f"{count} × {pattern}")
        return [int(line.split()[2]) for line in self.lines(pattern)]

    def pid(self, place: str) -> int:
        """The newest process at a place."""
        return int(self.lines(f"^{place} .* ready$")[-1].split()[2])

    def ask(self, question: Question, seconds: float = 20.0) -> Reply:
        return ask(self.settings.folder.control, question, seconds)

    def wait_running(self) -> None:
        self.process.wait_ready(self.running, PATIENCE)

    def running(self) -> bool:
        try:
            return bool(self.ask(Question("status")).data["state"] == "running")
        except Unavailable:
            return False

    def end(self, order: signal.Signals = signal.SIGTERM) -> int:
        """Signal the supervisor; returns its exit code after asserting that nothing is left."""
        code = self.process.stop(order, PATIENCE)
        until(lambda: not bearers(self.mark), "no process left")
        return code


Start = Callable[..., Supervised]


@pytest.fixture
def start(workdir: Path) -> Iterator[Start]:
    """Starts supervisors; ends what is left of them."""
    started: list[Supervised] = []

    def _start(traits: str = "", **options: Any) -> Supervised:
        started.append(Supervised(workdir, traits, **options))
        return started[-1]

    yield _start
    for supervised in started:
        supervised.process.stop(signal.SIGKILL)
        until(lambda mark=supervised.mark: not bearers(mark), "no orphan")  # type: ignore[misc]


def test_a_life_in_order(start: Start) -> None:
    supervised = start()
    supervised.wait_running()
    started = [line.split()[0] for line in supervised.lines(" start ")]
    assert started[:2] == ["broker-0", "gateway-0"]
    assert sorted(started) == sorted(ROLES)
    assert supervised.end() == 0
    ended = [line.split()[0] for line in supervised.lines(" end$")]
    assert set(ended[:2]) == {"gateway-0", "jobs-0"}
    assert ended[-1] == "broker-0"
    left = {path.name for path in (supervised.folder / "d" / "run").iterdir()}
    assert left <= {"watch"}, "no socket, no pid"


def test_the_port_is_open_before_the_app_is_and_stays_open_while_a_gateway_is_replaced(start: Start) -> None:
    supervised = start("app.boots-slowly")
    supervised.serves("^gateway-0 .* ready$", 1)
    assert accepts(supervised.port)
    os.kill(supervised.pid("gateway-0"), signal.SIGKILL)
    with socket.create_connection(("127.0.0.1", supervised.port), timeout=5) as waiting:
        answer = waiting.makefile().readline()
    supervised.serves("^gateway-0 .* ready$", 2)
    assert int(answer) == supervised.pid("gateway-0")


@pytest.mark.parametrize(
    ("trait", "told"),
    [
        ("app.raises", "RuntimeError: the database is away"),
        ("app.imports", "No module named 'no_such_module'"),
        ("app.exits", "exited with code 7 while it was starting"),
        ("app.boots-slowly", "it was not ready within 1 s (boot_timeout)"),
    ],
)
def test_a_boot_failure_of_the_first_generation_ends_all_with_its_reason(start: Start, trait: str, told: str) -> None:
    supervised = start(trait, boot_timeout=1.0 if "slowly" in trait else 60.0)
    until(lambda: not supervised.process.alive(), "the end")
    assert supervised.process.popen.returncode == 1
    until(lambda: not bearers(supervised.mark), "no process left")
    assert told in supervised.process.log()
    if trait == "app.raises":
        shown = supervised.process.log().partition("failure: ")[2]
        assert "Traceback" in shown
        assert "standin.py" in shown
        assert "supervisor/child.py" not in shown


@pytest.mark.parametrize("place", ROLES)
def test_a_killed_process_is_replaced_at_once_and_the_others_hear_of_it(start: Start, place: str) -> None:
    supervised = start()
    supervised.wait_running()
    pid = supervised.pid(place)
    os.kill(pid, signal.SIGKILL)
    supervised.serves(f"^{place} .* ready$", 2)
    successor = supervised.lines(f"^{place} .* start ")[-1]
    name = rf"{place}\.1-{pid}"
    assert re.search(f"replaces={name}$", successor)
    supervised.serves(f"worker_died {name}$", len(ROLES) - 1)
    assert supervised.process.alive()


def test_a_job_worker_that_makes_place_is_replaced_without_an_error(start: Start) -> None:
    run = start("jobs.recycles counts")
    (second,) = run.serves("^jobs-0 .* ready$", 1)
    first = int(run.lines("^jobs-0 .* start")[0].split()[2])
    assert first != second
    until(lambda: "a fresh one takes its place" in run.process.log(), "it is told")
    assert "ERROR" not in run.process.log()
    told = {line.split()[0]: line.split()[-1] for line in run.lines("processes=")}
    assert told["jobs-0"] == told["app-fast-0"] == told["app-slow-0"] == "processes=3"
    assert told["gateway-0"] == "processes=None", "it runs no user code"


def test_a_process_that_keeps_crashing_is_restarted_with_patience(start: Start) -> None:
    supervised = start("jobs.crashes")
    supervised.serves("^jobs-0 .* ready$", 3)
    assert "exited with code 9; it is started again at once" in supervised.process.log()
    assert "it is started again in 0.5 s" in supervised.process.log()
    assert supervised.process.alive()


def test_a_stalled_gateway_is_found_and_replaced(start: Start) -> None:
    supervised = start("gateway.hangs", heartbeat_timeout=3.0)
    supervised.serves("^gateway-0 .* ready$", 1)
    supervised.traits("")
    supervised.serves("^gateway-0 .* ready$", 2)
    assert "was silent for" in supervised.process.log()


def test_a_worker_that_hangs_without_cpu_is_replaced(start: Start) -> None:
    supervised = start("app-fast-0.hangs", heartbeat_timeout=3.0)
    supervised.serves("^app-fast-0 .* ready$", 1)
    supervised.traits("")
    supervised.serves("^app-fast-0 .* ready$", 2)
    assert "app-fast-0" in supervised.process.log()


def test_a_busy_worker_and_a_stopped_one_are_left_alone(start: Start) -> None:
    supervised = start("app-fast-0.spins", heartbeat_timeout=3.0)
    supervised.wait_running()
    stopped = supervised.pid("jobs-0")
    os.kill(stopped, signal.SIGSTOP)
    until(lambda: (facts := look(stopped)) is not None and facts.stopped, "the job worker stopped")

    def silence(place: str) -> float:
        processes = supervised.ask(Question("status")).data["processes"]
        return next(float(each["silence"] or 0) for each in processes if each["place"] == place)

    until(lambda: silence("app-fast-0") > 8 and silence("jobs-0") > 8, "silence beyond the timeout")
    os.kill(stopped, signal.SIGCONT)
    until(lambda: silence("jobs-0") < 3, "the job worker beats again")
    assert len(supervised.lines(" start ")) == len(ROLES)


def test_sighup_brings_a_new_generation_and_then_ends_the_old(start: Start) -> None:
    supervised = start()
    supervised.wait_running()
    old = {place: supervised.pid(place) for place in ROLES}
    os.kill(supervised.process.pid, signal.SIGHUP)
    supervised.serves(r"^(app|jobs)\S* 2 .* ready$", 3)
    supervised.serves(r"^(app|jobs)\S* 1 .* end$", 3)
    diary = supervised.diary()
    first_stop = next(i for i, line in enumerate(diary) if " stop " in line)
    assert all(diary.index(line) < first_stop for line in supervised.lines(r" 2 \d+ ready$"))
    assert supervised.pid("gateway-0") == old["gateway-0"]
    assert supervised.pid("broker-0") == old["broker-0"]
    assert supervised.ask(Question("status")).data["generation"] == 2


def test_a_reload_that_fails_keeps_the_old_generation_and_says_why(start: Start) -> None:
    supervised = start()
    supervised.wait_running()
    supervised.traits("app-slow-0.raises")
    reply = supervised.ask(Question("reload"))
    assert not reply.ok
    assert reply.failure == "RuntimeError: the database is away"
    assert "Traceback" in reply.traceback
    status = supervised.ask(Question("status")).data
    assert (status["state"], status["generation"]) == ("running", 1)
    until(lambda: len(bearers(supervised.mark)) == len(ROLES) + 1, "the new ones gone")
    assert not supervised.lines(r"^\S+ 1 \d+ stop ")
    supervised.traits("")
    assert supervised.ask(Question("reload")).data == {"generation": 3}


def test_a_process_that_does_not_finish_in_time_is_killed(start: Start) -> None:
    supervised = start("jobs.dawdles", stop_timeout=0.5)
    supervised.wait_running()
    assert supervised.end() == 0
    assert "jobs-0" in supervised.process.log()
    assert "it did not finish in time" in supervised.process.log()
    jobs = supervised.pid("jobs-0")
    assert supervised.lines(rf"^broker-0 .* worker_died jobs-0\.1-{jobs}$")


def test_a_second_interrupt_ends_at_once(start: Start) -> None:
    supervised = start("jobs.dawdles gateway.dawdles", stop_timeout=600.0)
    supervised.wait_running()
    os.kill(supervised.process.pid, signal.SIGINT)
    supervised.serves("^jobs-0 .* stop ", 1)
    assert supervised.end(signal.SIGINT) == 0


def test_no_orphan_when_the_supervisor_is_killed(start: Start) -> None:
    supervised = start("app-fast-0.spins jobs.hangs")
    supervised.wait_running()
    os.kill(supervised.pid("gateway-0"), signal.SIGSTOP)
    supervised.process.kill()
    until(lambda: not bearers(supervised.mark), "no orphan", 5)


def test_after_a_kill_the_next_supervisor_starts_on_the_same_folder_and_port(start: Start) -> None:
    first = start()
    first.wait_running()
    first.process.kill()
    until(lambda: not bearers(first.mark), "no orphan", 5)
    second = start(bind=first.settings.bind)
    second.wait_running()
    assert second.end() == 0


def test_a_second_supervisor_on_the_same_folder_is_refused(start: Start) -> None:
    first = start()
    first.wait_running()
    second = start()
    until(lambda: not second.process.alive(), "the refusal")
    assert second.process.popen.returncode != 0
    assert f"Another Headgate (pid {first.process.pid}) runs on the data folder" in second.process.log()
    assert first.ask(Question("status")).ok


def test_stop_and_status_by_the_control_socket(start: Start) -> None:
    supervised = start()
    supervised.wait_running()
    until(lambda: _answers(supervised) == len(ROLES), "every report")
    assert supervised.ask(Question("stop")).data == {"pid": supervised.process.pid}
    assert supervised.process.popen.wait(PATIENCE) == 0


def _answers(supervised: Supervised) -> int:
    processes = supervised.ask(Question("status")).data["processes"]
    assert all(each["cpu"] >= 0 and each["rss"] > 0 for each in processes)
    return sum(each["stats"].get("answer") == 42 for each in processes)


def test_nonsense_on_the_control_socket_is_hung_up_on(start: Start) -> None:
    supervised = start()
    supervised.wait_running()
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\2{}", b"\0\0\0\4nope"):
        with socket.socket(socket.AF_UNIX) as dialled:
            dialled.settimeout(5)
            dialled.connect(str(supervised.settings.folder.control))
            dialled.sendall(nonsense)
            assert dialled.recv(10) == b""
    assert supervised.ask(Question("status")).ok


def test_a_changed_file_brings_a_new_generation(start: Start) -> None:
    supervised = start(reload=True)
    supervised.wait_running()
    seen = 0

    def generation() -> bool:
        nonlocal seen
        seen += 1
        (supervised.folder / "views.py").write_text(f"version = {seen}\n")
        return bool(supervised.lines(r"^app-fast-0 2 .* ready$"))

    until(generation, "a new generation", every=0.5)
    assert supervised.end() == 0


def test_service_manager_hears_ready_reloading_and_stopping(start: Start, workdir: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(workdir / "notify"))
        manager.settimeout(PATIENCE)
        heard: list[dict[str, str]] = []

        def hear(key: str) -> dict[str, str]:
            while not any(key in message for message in heard):
                lines = manager.recv(4096).decode().splitlines()
                heard.append(dict(line.split("=", 1) for line in lines))
            found = next(message for message in heard if key in message)
            heard.clear()
            return found

        supervised = start(env={"NOTIFY_SOCKET": str(workdir / "notify"), "WATCHDOG_USEC": "1000000"})
        assert hear("READY")["MAINPID"] == str(supervised.process.pid)
        assert hear("WATCHDOG")["WATCHDOG"] == "1"
        os.kill(supervised.process.pid, signal.SIGHUP)
        assert int(hear("RELOADING")["MONOTONIC_USEC"]) > 0
        assert hear("READY")["STATUS"].endswith("generation 2")
        os.kill(supervised.process.pid, signal.SIGTERM)
        assert hear("STOPPING")["STOPPING"] == "1"
        assert supervised.process.popen.wait(PATIENCE) == 0


ACTIVATE = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""What systemd does for a service with a .socket unit."""


def test_sockets_of_systemd_are_taken_in_place_of_bind(start: Start) -> None:
    port = free_port()
    supervised = start(wrap=(sys.executable, "-c", ACTIVATE, str(port)))
    supervised.wait_running()
    assert supervised.ask(Question("status")).data["addresses"] == [f"http://127.0.0.1:{port}"]
    assert not accepts(supervised.port)
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as dialled:
        assert int(dialled.makefile().readline()) == supervised.pid("gateway-0")
    assert supervised.end() == 0


IN_TERMINAL = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.setsid()
os.close(os.open(sys.argv[1], os.O_RDWR))
os.execv(sys.argv[2], sys.argv[2:])
"""
"""What a terminal window does for the program in it: the first terminal that a session leader opens is its own. A test
run under `nohup` ignores SIGHUP, and whoever does so wants to outlive the terminal: that is not inherited here."""


def test_a_closed_terminal_window_ends_it_rather_than_reloading(start: Start) -> None:
    window, terminal = os.openpty()
    supervised = start(wrap=(sys.executable, "-c", IN_TERMINAL, os.ttyname(terminal)))
    supervised.wait_running()
    os.close(terminal)
    os.kill(supervised.process.pid, signal.SIGHUP)
    supervised.serves(r"^app-fast-0 2 .* ready$", 1)  # the window is open: somebody wants a reload
    os.close(window)
    # Whether the kernel's own signal comes before or after the terminal is gone from the process is its affair;
    # once it is gone, a SIGHUP can only mean an end.
    pid = supervised.process.pid
    until(lambda: not has_terminal(pid), "the terminal gone from the process")
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGHUP)
    assert supervised.process.popen.wait(PATIENCE) == 0


def has_terminal(pid: int) -> bool:
    """Whether a process has a controlling terminal (proc_pid_stat(5), tty_nr); one that has ended has none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[4] != "0"
