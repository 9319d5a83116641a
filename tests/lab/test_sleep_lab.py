"""Commands that are stopped in the middle and go on later, as machines that sleep and wake."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.lab import Lab, Star
from tests.lab.commands import Command, Stage

SIZE = 6_000_000
RATE = "20M"
PAUSE_S = 3.0

pytestmark = pytest.mark.root("ip", "tc", "bridge", "nft", "ethtool")

WHO = pytest.mark.parametrize("who", ["receiver", pytest.param("server", marks=pytest.mark.slow)])


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Star(2) as made:
        yield made


def pause(command: Command) -> None:
    command.signal(signal.SIGSTOP)
    time.sleep(PAUSE_S)
    command.signal(signal.SIGCONT)


@WHO
def test_a_fetch_goes_on_after_a_pause(lab: Lab, who: str, tmp_path: Path) -> None:
    stage = Stage(lab, tmp_path, SIZE)
    server = stage.serve("--rate", RATE, "--expect", "1")
    server.wait_event("serving")
    fetch = Command(lab, "r1", tmp_path / "r1", "fetch", lab.address("server"))
    fetch.wait_fraction()
    pause(server if who == "server" else fetch)
    assert fetch.wait() == 0, fetch.text
    assert stage.is_exact(fetch)
    assert server.wait() == 0, server.text


@WHO
def test_a_group_goes_on_after_a_pause(lab: Lab, who: str, tmp_path: Path) -> None:
    stage = Stage(lab, tmp_path, SIZE, "--group", "239.63.30.1")
    paused, other = stage.receive(count=2)
    server = stage.serve("--rate", RATE, "--wait", "2", "--expect", "2")
    paused.wait_fraction()
    pause(server if who == "server" else paused)
    for fetch in (paused, other):
        assert fetch.wait() == 0, fetch.text
        assert stage.is_exact(fetch)
    assert server.wait() == 0, server.text
