"""The crew, told stories: what happens, line by line, and what the last line must bring."""

from __future__ import annotations

import msgspec
import pytest

from headgate.config.settings import Settings
from headgate.supervisor.advice import given_up
from headgate.supervisor.events import Place, Say, Unlink
from headgate.supervisor.roster import RESTART_MOST, code_processes, places
from tests.unit.supervisor.stories import ALL, BROKER, FAST, JOBS, Stage, acts

BOOT = ["start", "broker ready", "gateway ready", "fast ready", "slow ready", "jobs ready"]

STORIES = [
    ("the broker is first", ["start"], ["spawn broker gen 1"]),
    ("gateways need the broker", BOOT[:2], ["spawn gateway gen 1"]),
    ("workers need the gateways", BOOT[:3], ["spawn fast gen 1", "spawn slow gen 1", "spawn jobs gen 1"]),
    ("not ready while one is not", BOOT[:5], []),
    ("ready when all are", BOOT, ["announce ready"]),
    ("ready is said once", [*BOOT, "jobs ready"], []),
    # a boot failure of the first generation ends all
    ("boot failure", [*BOOT[:3], "fast fails"], ["announce stopping", "stop gateway 2", "kill jobs"]),
    (
        "boot failure, to its end",
        [
            *BOOT[:3],
            "fast fails",
            "jobs exits -9",
            "fast exits 3",
            "gateway exits 0",
            "slow exits -9",
            "broker exits 0",
        ],
        ["finish 1 no"],
    ),
    (
        "a config error has its own exit code",
        ["start", "broker fails config", "broker exits 3"],
        ["finish 2 config"],
    ),
    ("death at boot is a boot failure", ["start", "broker exits -11"], ["announce stopping", "finish 1 …"]),
    ("the second failure is not told", [*BOOT[:3], "fast fails", "slow fails"], []),
    # a crash is answered by a restart
    ("the first restart is immediate", [*BOOT, "fast exits 1"], ["spawn fast#2 gen 1 for app-fast-0.1-103"]),
    ("a restarted one serves", [*BOOT, "fast exits 1", "fast#2 ready"], []),
    ("a restart that fails to boot ends nothing", [*BOOT, "fast exits 1", "fast#2 fails", "fast#2 exits 3"], []),
    ("crashing before others are ready", [*BOOT[:4], "fast exits 1"], ["spawn fast#2 gen 1 for app-fast-0.1-103"]),
    # a reload with gateways: the new ones wait for the word, the old ones move their sockets
    (
        "reload of gateways: beside the old ones",
        [*BOOT, "reload 1 gateways"],
        [
            "announce reloading",
            "spawn gateway#2 gen 2",
            "spawn fast#2 gen 2",
            "spawn slow#2 gen 2",
            "spawn jobs#2 gen 2",
        ],
    ),
    (
        "reload of gateways: taken over when all could serve",
        [*BOOT, "reload 7 gateways", "gateway#2 ready", "fast#2 ready", "slow#2 ready", "jobs#2 ready"],
        [
            "stop gateway 90",
            "stop fast 300",
            "stop slow 300",
            "stop jobs 300",
            "answer 7 done",
            "announce ready",
        ],
    ),
    (
        "reload of gateways: one that cannot serve has taken nothing",
        [*BOOT, "reload 7 gateways", "gateway#2 ready", "fast#2 fails"],
        ["stop gateway#2 30", "kill fast#2", "kill slow#2", "kill jobs#2", "answer 7 no", "announce ready"],
    ),
    (
        "the next reload ends gateways that move still",
        [
            *BOOT,
            "reload 7 gateways",
            "gateway#2 ready",
            "fast#2 ready",
            "slow#2 ready",
            "jobs#2 ready",
            "reload",
            "fast#3 ready",
            "slow#3 ready",
            "jobs#3 ready",
        ],
        [
            "stop gateway 30",
            "stop fast 30",
            "stop slow 30",
            "stop jobs 30",
            "stop fast#2 300",
            "stop slow#2 300",
            "stop jobs#2 300",
            "answer 1 done",
            "announce ready",
        ],
    ),
    # a job worker that makes place is replaced at once, however often
    ("a recycled job worker", [*BOOT, "jobs exits 0"], ["spawn jobs#2 gen 1 for jobs-0.1-105"]),
    (
        "one that ended with its job, again and again",
        [*BOOT, "jobs exits 86", "jobs#2 ready", "jobs#2 exits 86", "jobs#3 ready", "jobs#3 exits 0"],
        ["spawn jobs#4 gen 1 for jobs-0.1-107"],
    ),
    ("no other role ends so", [*BOOT, "fast exits 0", "fast#2 ready", "fast#2 exits 0"], []),
    ("nor one that never served", [*BOOT, "jobs exits 1", "jobs#2 exits 86"], []),
    # stop, in order
    ("stop: those who take work first", [*BOOT, "stop"], ["announce stopping", "stop gateway 30", "stop jobs 30"]),
    ("apps when no gateway asks them", [*BOOT, "stop", "gateway exits 0"], ["stop fast 30", "stop slow 30"]),
    ("jobs do not hold the apps up", [*BOOT, "stop", "jobs exits 0"], []),
    (
        "the broker last",
        [*BOOT, "stop", "gateway exits 0", "jobs exits 0", "fast exits 0", "slow exits 0"],
        ["stop broker 30"],
    ),
    (
        "the end",
        [*BOOT, "stop", "gateway exits 0", "jobs exits 0", "fast exits 0", "slow exits 0", "broker exits 0"],
        ["finish 0"],
    ),
    ("a late turn still gets its grace", [*BOOT, "stop", "wait 29", "gateway exits 0"], ["stop fast 2", "stop slow 2"]),
    ("the deadline", [*BOOT, "stop", "wait 29.5", "wait 1"], ["kill gateway", "kill jobs"]),
    ("no restart while stopping", [*BOOT, "stop", "fast exits 1"], []),
    ("a second stop is the same", [*BOOT, "stop", "stop"], []),
    ("quick", [*BOOT, "stop", "quick"], ["kill gateway", "kill fast", "kill slow", "kill jobs"]),
    (
        "quick spares the broker its last words",
        [*BOOT, "quick", "gateway exits -9", "fast exits -9", "slow exits -9", "jobs exits -9"],
        ["stop broker 2"],
    ),
    ("stop during the boot", [*BOOT[:3], "stop"], ["announce stopping", "stop gateway 30", "kill jobs"]),
    # reload
    (
        "reload: a new generation beside the old",
        [*BOOT, "reload"],
        ["announce reloading", "spawn fast#2 gen 2", "spawn slow#2 gen 2", "spawn jobs#2 gen 2"],
    ),
    ("reload: the old serve until all are ready", [*BOOT, "reload", "fast#2 ready", "slow#2 ready"], []),
    (
        "reload: then they finish",
        [*BOOT, "reload 7", "fast#2 ready", "slow#2 ready", "jobs#2 ready"],
        ["stop fast 300", "stop slow 300", "stop jobs 300", "answer 7 done", "announce ready"],
    ),
    (
        "reload fails: the old one serves on",
        [*BOOT, "reload 7", "fast#2 ready", "slow#2 fails typo"],
        ["stop fast#2 30", "kill slow#2", "kill jobs#2", "answer 7 typo", "announce ready"],
    ),
    (
        "reload: death after ready counts too",
        [*BOOT, "reload 7", "fast#2 ready", "fast#2 exits -9"],
        ["kill slow#2", "kill jobs#2", "answer 7 …", "announce ready"],
    ),
    ("the killed new ones are nobody's loss", [*BOOT, "reload", "slow#2 fails", "slow#2 exits 3"], []),
    (
        "reload: a second one waits for the first",
        [*BOOT, "reload 7", "reload 8"],
        [],
    ),
    (
        "reload: then it has its turn",
        [*BOOT, "reload 7", "reload 8", "reload 9", "fast#2 ready", "slow#2 ready", "jobs#2 ready"],
        [
            "stop fast 300",
            "stop slow 300",
            "stop jobs 300",
            "answer 7 done",
            "announce ready",
            "announce reloading",
            "spawn fast#3 gen 3",
            "spawn slow#3 gen 3",
            "spawn jobs#3 gen 3",
        ],
    ),
    ("reload during the boot waits", [*BOOT[:4], "reload 7"], []),
    ("reload while stopping is refused", [*BOOT, "stop", "reload 7"], ["answer 7 Headgate is stopping."]),
    (
        "stop during a reload",
        [*BOOT, "reload 7", "fast#2 ready", "stop"],
        [
            "announce stopping",
            "answer 7 Headgate was stopped meanwhile.",
            "stop gateway 30",
            "stop jobs 30",
            "kill jobs#2",
        ],
    ),
    ("a crash of the old during a reload waits for the new", [*BOOT, "reload", "fast exits 1", "wait 3"], []),
    (
        "and is replaced after all when that fails",
        [*BOOT, "reload 7", "fast exits 1", "slow#2 fails no"],
        [
            "kill fast#2",
            "kill slow#2",
            "kill jobs#2",
            "answer 7 no",
            "announce ready",
            "spawn fast#3 gen 1 for app-fast-0.1-103",
        ],
    ),
    (
        "two reloads old is told to hurry",
        [
            *BOOT,
            *("reload", "fast#2 ready", "slow#2 ready", "jobs#2 ready", "fast exits 0", "slow exits 0"),
            *("reload", "fast#3 ready", "slow#3 ready", "jobs#3 ready"),
        ],
        ["stop jobs 30", "stop fast#2 300", "stop slow#2 300", "stop jobs#2 300", "answer 1 done", "announce ready"],
    ),
    (
        "stop shortens the time of the old generation",
        [*BOOT, "reload", "fast#2 ready", "slow#2 ready", "jobs#2 ready", "stop"],
        ["announce stopping", "stop gateway 30", "stop jobs 30", "stop jobs#2 30"],
    ),
    # readiness
    ("boot takes too long", [*BOOT[:3], "wait 61"], ["kill fast", "kill slow", "kill jobs"]),
    ("boot takes its time", [*BOOT[:3], "wait 60"], []),
    (
        "one that says no and stays is killed",
        [*BOOT, "fast exits 1", "fast#2 fails", "wait 2"],
        ["kill fast#2"],
    ),
]


def _rough(orders: list[str]) -> list[str]:
    return [" ".join([*order.split()[:2], "…"]) if "while it was starting" in order else order for order in orders]


@pytest.mark.parametrize(("story", "ending"), [pytest.param(story, end, id=name) for name, story, end in STORIES])
def test_story(story: list[str], ending: list[str]) -> None:
    stage = Stage()
    stage.all_beat = True
    assert _rough(acts(stage.play(*story))) == ending


def test_the_finish_says_who_died_at_boot() -> None:
    stage = Stage()
    assert stage.play("start", "broker exits -11")[-1] == (
        "finish 1 broker-0 (pid 101) was killed by SIGSEGV while it was starting."
    )


def test_restarts_back_off_and_calm_down() -> None:
    stage = Stage().booted()
    stage.all_beat, stage.tick_every = True, 0.5
    name, number, delays = "fast", 1, []
    for _ in range(9):
        stage.play(f"{name} exits 1")
        number += 1
        name = f"fast#{number}"
        before = stage.now
        while name not in stage.runs:
            stage.play("wait 0.5")
        delays.append(stage.now - before)
        stage.play(f"{name} ready")
    assert delays == [0, 0.5, 1, 2, 4, 8, 16, RESTART_MOST, RESTART_MOST]

    stage.play("wait 61")
    assert acts(stage.play(f"{name} exits 1"))[0].startswith("spawn fast#")


def test_all_others_hear_of_a_death_by_name() -> None:
    stage = Stage().booted()
    told = [order for order in stage.play("jobs exits -9") if order.startswith("tell")]
    assert told == [f"tell {other} jobs-0.1-105" for other in ("broker", "gateway", "fast", "slow")]


def test_a_new_broker_hears_of_the_deaths_while_there_was_none() -> None:
    stage = Stage().booted()
    stage.play("broker exits 1", "broker#2 ready", "broker#2 exits 1", "jobs exits -9")
    assert "broker#3" not in stage.runs
    told = stage.play("wait 1")
    assert "spawn broker#3 gen 1 for broker-0.1-106" in told
    assert "tell broker#3 jobs-0.1-105" in told


def test_no_room_for_a_process_at_boot_is_a_boot_failure() -> None:
    stage = Stage()
    stage.no_room = ("broker",)
    assert stage.play("start")[-1] == "finish 1 broker-0 could not be started: no room"


def test_no_room_for_a_replacement_is_tried_again() -> None:
    stage = Stage().booted()
    stage.no_room = ("jobs",)
    stage.play("jobs exits 1")
    assert "jobs-0 could not be started: no room" in stage.log
    stage.no_room = ()
    assert any(order.startswith("spawn jobs#3") for order in stage.play("wait 1"))


def test_the_reason_of_a_failed_restart_is_logged() -> None:
    stage = Stage().booted()
    stage.play("fast exits 1", "fast#2 fails", "fast#2 exits 3")
    assert "app-fast-0 (pid 106) exited with code 3; it is started again in 0.5 s\nTraceback" in stage.log


def test_processes_stuck_in_the_kernel_are_left_behind() -> None:
    stage = Stage([BROKER]).booted()
    stage.play("quick", "wait 3")
    assert stage.play("wait 8") == []
    assert stage.play("wait 3")[0] == "finish 1"


def test_a_crew_without_workers_reloads_at_once() -> None:
    stage = Stage([BROKER]).booted()
    assert stage.play("reload 4") == ["announce reloading", "answer 4 done", "announce ready"]


def test_an_empty_crew_is_ready_and_stops() -> None:
    stage = Stage([])
    assert stage.play("start") == ["announce ready"]
    assert stage.play("stop") == ["announce stopping", "finish 0"]


def test_a_reload_asked_for_during_the_boot_comes_after_it() -> None:
    stage = Stage([BROKER, FAST])
    stage.play("start", "broker ready", "reload 3")
    assert stage.play("fast ready") == ["announce ready", "announce reloading", "spawn fast#2 gen 2"]


def test_events_of_a_run_that_is_over_are_no_matter() -> None:
    stage = Stage([BROKER, JOBS]).booted()
    stage.play("jobs exits 1")
    assert stage.play("jobs ready", "jobs beats", "jobs cpu 1", "jobs fails", "jobs exits 1") == []


def test_places_follow_the_settings() -> None:
    settings = Settings(gateways=2, workers=2, slow_workers=1, jobs=1)
    names = [place.name for place in places(settings)]
    assert names == ["broker-0", "gateway-0", "gateway-1", "app-fast-0", "app-fast-1", "app-slow-0", "jobs-0"]
    assert places(Settings(gateways=1, workers=1, jobs=1)) == list(ALL)
    assert Place("broker", None, 0) not in places(Settings(broker="redis://localhost"))
    assert {place.lane for place in places(Settings(lanes=False)) if place.role == "app"} == {"fast"}
    assert [place.role for place in places(Settings(roles=("jobs",), jobs=1))] == ["jobs"]


def test_a_planned_end_is_no_error_and_no_restart() -> None:
    stage = Stage().booted()
    stage.play("jobs exits 0")
    assert [order.level for order in stage.orders if isinstance(order, Say)] == ["info"]
    assert "a fresh one takes its place" in stage.log
    stage.play("jobs#2 ready", "jobs#2 exits 86")
    assert [order.level for order in stage.orders if isinstance(order, Say)] == ["warning"]
    post = stage.crew.posts[JOBS]
    assert (post.crashes, post.restarts) == (0, 0)
    stage.play("jobs#3 ready", "jobs#3 exits 1")
    assert (post.crashes, post.restarts) == (1, 1)


def test_how_many_processes_run_user_code() -> None:
    both = Settings(app="a:b", gateways=2, workers=3, slow_workers=2, jobs=4)
    assert code_processes(both) == 9
    assert code_processes(msgspec.structs.replace(both, lanes=False)) == 7
    assert code_processes(msgspec.structs.replace(both, roles=("jobs",))) == 4


def test_the_word_to_begin_comes_before_the_old_gateway_is_told_to_go() -> None:
    stage = Stage().booted()
    stage.play("reload 1 gateways", "fast#2 ready", "slow#2 ready", "jobs#2 ready")
    said = stage.play("gateway#2 ready")
    order = [said.index(words) for words in ("tell gateway#2 begin", "tell gateway successor", "stop gateway 90")]
    assert order == sorted(order)
    stage.play("gateway exits 0")
    assert [one.run for one in stage.orders if isinstance(one, Unlink)] == [stage.runs["gateway"]]


def test_who_gives_up_the_lanes_is_told_what_for() -> None:
    assert given_up(Settings(app="a:b", workers=1)) == []
    assert given_up(Settings(app="a:b", workers=1, lanes=False, roles=("jobs",))) == []
    (one,) = given_up(Settings(app="a:b", workers=1, threads=12, lanes=False))
    assert "all 12 threads" in one
    assert "empty memory" in one
    (several,) = given_up(Settings(app="a:b", workers=3, slow_workers=0))
    assert "3 app workers" in several
