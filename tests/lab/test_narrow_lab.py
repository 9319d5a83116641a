"""Receivers that cannot get packets of the default size: data comes all the same, alone and out of a group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.lab import Lab, Star
from tests.lab.commands import Command, Stage

ADDRESS = "239.63.30.1"
SIZE = 300_000
# A way whose routers drop what is too large, and say nothing.
BLACK_HOLE = """table netdev narrow {
    chain heard {
        type filter hook ingress device "eth0" priority -1;
        meta length > 1280 drop
    }
}
"""

pytestmark = pytest.mark.root("ip", "tc", "bridge", "nft", "ethtool")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Star(2) as made:
        yield made


def narrow_interface(lab: Lab) -> None:
    lab.run("r1", ["ip", "link", "set", "eth0", "mtu", "1280"], check=True)


def narrow_way(lab: Lab) -> None:
    lab.run("r1", ["nft", "-f", "-"], input=BLACK_HOLE, text=True, check=True)


@pytest.mark.parametrize("family", [4, pytest.param(6, marks=pytest.mark.slow)])
@pytest.mark.parametrize("narrow", [narrow_interface, narrow_way])
def test_a_fetch_gets_its_data_in_parts(lab: Lab, narrow: object, family: int, tmp_path: Path) -> None:
    assert callable(narrow)
    narrow(lab)
    stage = Stage(lab, tmp_path, SIZE)
    server = stage.serve("--expect", "1")
    server.wait_event("serving")
    fetch = Command(lab, "r1", tmp_path / "r1", "fetch", lab.address("server", family))
    assert fetch.wait() == 0, fetch.text
    assert stage.is_exact(fetch)
    assert server.wait() == 0, server.text
    (warned,) = fetch.events("warned")
    assert (
        warned["message"]
        == "Data packets of 1,452 bytes are too large for the path to this host: each arrives in 2 parts."
    )
    assert len(fetch.events("reconnecting")) == (narrow is narrow_way)


@pytest.mark.parametrize("narrow", [pytest.param(narrow_interface, marks=pytest.mark.slow), narrow_way])
def test_a_receiver_that_hears_a_group_but_none_of_its_data_goes_on_alone(
    lab: Lab, narrow: object, tmp_path: Path
) -> None:
    assert callable(narrow)
    narrow(lab)
    stage = Stage(lab, tmp_path, 3_000_000, "--group", ADDRESS)
    fetches = stage.receive(count=2)
    server = stage.serve("--rate", "20M", "--wait", "2", "--expect", "2")
    for fetch in fetches:
        assert fetch.wait() == 0, fetch.text
        assert stage.is_exact(fetch)
    assert server.wait() == 0, server.text
    assert len(fetches[0].events("asked_to_leave")) == 1
    assert not fetches[1].events("asked_to_leave")
