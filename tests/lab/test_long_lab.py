"""A round trip of 600 ms with random loss: single peers and groups get their object."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.lab import Lab, Link, Pair
from tests.lab.commands import Command, Stage

SIZE = 2_000_000

pytestmark = pytest.mark.root("ip", "tc", "bridge", "nft", "ethtool")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Pair(Link(rate="20M", delay="300ms", loss=0.01), Link(delay="300ms", loss=0.01)) as made:
        yield made


def test_a_fetch_over_a_long_lossy_way_is_exact(lab: Lab, tmp_path: Path) -> None:
    stage = Stage(lab, tmp_path, SIZE)
    server = Command(lab, "left", tmp_path / "left", "serve", "--expect", "1", stage.path)
    server.wait_event("serving")
    fetch = Command(lab, "right", tmp_path / "right", "fetch", lab.address("left"))
    assert fetch.wait() == 0, fetch.text
    assert stage.is_exact(fetch)
    assert server.wait() == 0, server.text
    assert not fetch.events("reconnecting"), "a long way was taken for silence"


def test_a_group_over_a_long_lossy_way_is_exact(lab: Lab, tmp_path: Path) -> None:
    stage = Stage(lab, tmp_path, SIZE)
    where = ("--group", "239.63.30.1", "-i", "eth0")
    fetch = Command(lab, "right", tmp_path / "right", "fetch", *where, "--wait")
    fetch.wait_event("listening")
    argv = ("--cc", "fixed", "--rate", "15M", "--ttl", "4", "--expect", "1")
    server = Command(lab, "left", tmp_path / "left", "serve", *where, *argv, stage.path)
    assert fetch.wait() == 0, fetch.text
    assert stage.is_exact(fetch)
    assert server.wait() == 0, server.text
