"""Listening sockets: bound, shared, passed by systemd, and refused with advice."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.base.errors import ConfigError
from headgate.supervisor import sockets
from headgate.supervisor.sockets import Opened


@pytest.fixture
def opened() -> Iterator[Opened]:
    with Opened() as opened:
        yield opened


def test_one_gateway_gets_every_address(opened: Opened, workdir: Path) -> None:
    [share] = opened.public([f"unix:{workdir}/s", "127.0.0.1:0", "[::1]:0"], 1)
    assert [each.family for each in share] == [socket.AF_UNIX, socket.AF_INET, socket.AF_INET6]
    assert sockets.written(share[0]) == f"unix:{workdir}/s"
    assert sockets.written(share[1]) == f"http://127.0.0.1:{share[1].getsockname()[1]}"
    assert sockets.written(share[2]).startswith("http://[::1]:")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the gateways share one socket")
def test_several_gateways_have_a_socket_each_on_one_port(opened: Opened, workdir: Path) -> None:
    shares = opened.public(["127.0.0.1:0", f"unix:{workdir}/s"], 3)
    assert len({share[0].fileno() for share in shares}) == 3
    assert len({share[0].getsockname() for share in shares}) == 1
    assert len({share[1].fileno() for share in shares}) == 1


@pytest.mark.parametrize("gateways", [1, 3])
def test_a_port_in_use_is_refused_with_what_to_do(opened: Opened, gateways: int) -> None:
    [[taken]] = opened.public(["127.0.0.1:0"], 1)
    port = taken.getsockname()[1]
    with pytest.raises(ConfigError) as told:
        opened.public([f"127.0.0.1:{port}"], gateways)
    assert f"127.0.0.1:{port} is in use by another program" in str(told.value)
    assert f"--bind 127.0.0.1:{port + 1}" in str(told.value)
    assert f"ss -ltnp 'sport = :{port}'" in str(told.value)


def test_a_port_shared_by_another_headgate_is_in_use_too(opened: Opened) -> None:
    shares = opened.public(["127.0.0.1:0"], 2)
    with pytest.raises(ConfigError, match="in use"):
        opened.public([f"127.0.0.1:{shares[0][0].getsockname()[1]}"], 2)


def test_an_address_of_another_machine(opened: Opened) -> None:
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1 is no address of this machine\. Use 127\.0\.0\.1"):
        opened.public(["192.0.2.1:0"], 1)


def test_a_host_without_an_address(opened: Opened) -> None:
    with pytest.raises(ConfigError, match="not known here"):
        opened.public(["no such host:80"], 1)


def test_the_files_of_sockets_go_with_them(workdir: Path) -> None:
    with Opened() as opened:
        opened.unix(workdir / "s", 0o600)
        assert (workdir / "s").stat().st_mode & 0o777 == 0o600
    assert not (workdir / "s").exists()


def test_a_socket_file_of_the_dead_is_replaced(opened: Opened, workdir: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(workdir / "s"))
    dead.close()
    opened.unix(workdir / "s", 0o600)


def test_a_socket_of_the_living_is_not(opened: Opened, workdir: Path) -> None:
    opened.unix(workdir / "s", 0o600)
    with pytest.raises(ConfigError, match="in use by another program"):
        opened.public([f"unix:{workdir}/s"], 1)


def test_a_file_in_the_way_is_kept(opened: Opened, workdir: Path) -> None:
    (workdir / "s").write_text("precious")
    with pytest.raises(ConfigError, match="in the way of a socket"):
        opened.unix(workdir / "s", 0o600)
    assert (workdir / "s").read_text() == "precious"


def test_systemd_passes_sockets_from_descriptor_three_on(tmp_path: Path) -> None:
    code = textwrap.dedent("""
        import os, socket, sys
        from headgate.supervisor.sockets import from_systemd
        environ = {"LISTEN_PID": sys.argv[1] or str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b", "X": "1"}
        found = from_systemd(environ)
        print(*(each.getsockname()[1] for each in found), *environ)
    """)
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = f"{one.getsockname()[1]} {two.getsockname()[1]}"

        def run(listen_pid: str) -> str:
            shell = f'exec "$0" -c "$1" "$2" 3<&{one.fileno()} 4<&{two.fileno()}'
            done = subprocess.run(
                ["bash", "-c", shell, sys.executable, code, listen_pid],
                pass_fds=(one.fileno(), two.fileno()),
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            return done.stdout.strip()

        assert run("") == f"{ports} X"
        assert run(str(os.getpid())) == "X", "meant for another process"
