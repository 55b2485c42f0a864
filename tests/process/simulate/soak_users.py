"""10,000 users from one machine with two cores, on a Headgate beside them: `make soak`, or pytest on this file."""

from __future__ import annotations

import resource

from headgate.simulate import api
from headgate.simulate.errors import ExitCode
from tests.process.simulate.test_docs import FILES
from tests.process.simulate.test_findings import hard
from tests.support.fixtures import StartHeadgate

USERS = 10_000


def test_ten_thousand_users_click_and_nothing_is_lost(headgate_server: StartHeadgate) -> None:
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = USERS + 1000  # each side of a connection is a descriptor of its process
    assert most == resource.RLIM_INFINITY or most >= wanted, f"ulimit -Hn is {most}; {wanted} are needed"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), most))
    server = headgate_server(FILES["desk.py"], "--gateways", "1")
    report = api.run(
        f"ws://127.0.0.1:{server.port}/updates",
        data=str(server.data),
        users=USERS,
        rate="0.05/user",
        heavy=0.0,
        seconds=20.0,
        seed=7,
        timeout=60.0,
        max_lag=30.0,
    )
    print(  # noqa: T201 - the figures are what a soak is for
        f"\n{report.counts['clicks']} clicks, p50 {report.p50() * 1000:.1f} ms, p99 {report.p99() * 1000:.1f} ms; "
        f"{report.generator.processes} generator processes, CPU {report.generator.cpu_mean:.0%} of a core each, "
        f"lag p99 {report.generator.lag_p99 * 1000:.1f} ms"
    )
    assert (report.problem, report.invalid, hard(report), report.exit_code) == (None, [], {}, ExitCode.PASSED)
    assert report.connected_at_start == report.connected_at_end == USERS
    assert report.generator.processes >= 2
    assert report.counts["answered"] == report.counts["clicks"] > 0.9 * 0.05 * 20 * USERS
