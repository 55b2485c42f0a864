"""Which link socket a gateway listens on, through deaths and take-overs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.config.folder import DataFolder
from headgate.supervisor.links import LinkSockets
from headgate.supervisor.sockets import Opened


@pytest.fixture
def links(workdir: Path) -> Iterator[LinkSockets]:
    folder = DataFolder(workdir)
    folder.run.mkdir()
    with Opened() as opened:
        made = LinkSockets(folder.link, lambda path: opened.unix(path, 0o600), opened.close)
        made.prepare(2)
        yield made
    assert not list(folder.run.iterdir()), "nothing is left"


def names(links: LinkSockets) -> list[str]:
    return [Path(path).name for path in links.paths]


def test_a_gateway_started_after_a_death_listens_where_the_dead_one_did(links: LinkSockets) -> None:
    first = links.take(1, 0)
    other = links.take(2, 1)
    assert first is not other
    assert not links.release(1), "app workers go on dialling it"
    assert links.take(3, 0) is first
    assert names(links) == ["gateway.0.sock", "gateway.1.sock"]


def test_one_that_takes_over_has_its_own_and_the_old_one_goes_with_its_gateway(links: LinkSockets) -> None:
    links.take(1, 0)
    second = links.take(5, 0)
    assert names(links) == ["gateway.0.sock", "gateway.1.sock", "gateway.0.2.sock"]
    assert links.release(1)
    assert names(links) == ["gateway.1.sock", "gateway.0.2.sock"]
    assert not links.release(5)
    assert links.take(6, 0) is second
    third = links.take(7, 0)
    assert Path(third.getsockname()).name == "gateway.0.sock", "the name is free again"
    with socket.socket(socket.AF_UNIX) as dialled:
        dialled.connect(third.getsockname())


def test_a_take_over_that_fails_leaves_the_old_one(links: LinkSockets) -> None:
    first = links.take(1, 0)
    links.take(5, 0)
    assert links.release(5)
    assert names(links) == ["gateway.0.sock", "gateway.1.sock"]
    assert not links.release(1)
    assert links.take(8, 0) is first
    assert not links.release(99), "it had none"
