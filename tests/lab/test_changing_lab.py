"""Interfaces that vanish and come back, addresses that change: transfers go on, and nothing stays deaf."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.lab import Lab, Star
from tests.lab.commands import Command, Stage

ADDRESS = "239.63.30.1"
ADDRESS_IPV6 = "ff15::63:30"
SIZE = 4_000_000
SLOWLY = ("--cc", "fixed", "--rate", "16M")  # 2 s

pytestmark = pytest.mark.root("ip", "tc", "bridge", "nft", "ethtool")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Star(2) as made:
        yield made


def change_address(lab: Lab, host: str, address: str) -> None:
    """As DHCP does: the old address goes, another comes."""
    lab.run(host, ["ip", "address", "flush", "dev", "eth0", "scope", "global"], check=True)
    lab.run(host, ["ip", "address", "add", f"{address}/24", "broadcast", "+", "dev", "eth0"], check=True)
    lab.run(host, ["ip", "route", "add", "default", "dev", "eth0"], check=True)
    for other in lab.hosts:  # The laboratory's hosts ask nobody for each other.
        if other != host:
            mac = f"02:00:00:00:00:{lab.state.index(host) + 1:02x}"
            lab.run(other, ["ip", "neighbour", "replace", address, "lladdr", mac, "dev", "eth0"], check=True)


def replug(lab: Lab, host: str) -> None:
    lab.unplug(host)
    time.sleep(0.3)  # Long enough to be noticed.
    lab.plug(host)


# --- Addresses that change -------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["r1", pytest.param("server", marks=pytest.mark.slow)])
def test_a_group_goes_on_when_an_address_changes(lab: Lab, host: str, tmp_path: Path) -> None:
    stage = Stage(lab, tmp_path, SIZE, "--group", ADDRESS)
    (fetch,) = stage.receive()
    server = stage.serve(*SLOWLY, "--expect", "1")
    fetch.wait_fraction()
    change_address(lab, host, "10.0.0.77")
    assert fetch.wait() == 0, fetch.text
    assert stage.is_exact(fetch)
    assert server.wait() == 0, server.text


def test_a_fetch_goes_on_from_another_address(lab: Lab, tmp_path: Path) -> None:
    stage = Stage(lab, tmp_path, SIZE)
    server = stage.serve(*SLOWLY, "--expect", "1")
    server.wait_event("serving")
    fetch = Command(lab, "r1", tmp_path / "r1", "fetch", lab.address("server"))
    fetch.wait_fraction()
    change_address(lab, "r1", "10.0.0.77")
    assert fetch.wait() == 0, fetch.text
    assert stage.is_exact(fetch)
    assert server.wait() == 0, server.text


@pytest.mark.parametrize("where", ["fe80::ff:fe00:1%eth0", pytest.param("10.0.0.1", marks=pytest.mark.slow)])
@pytest.mark.parametrize("host", ["r1", pytest.param("server", marks=pytest.mark.slow)])
def test_a_fetch_goes_on_when_an_interface_was_made_anew(lab: Lab, host: str, where: str, tmp_path: Path) -> None:
    stage = Stage(lab, tmp_path, SIZE)
    server = stage.serve(*SLOWLY, "--expect", "1")
    server.wait_event("serving")
    fetch = Command(lab, "r1", tmp_path / "r1", "fetch", where)
    fetch.wait_fraction()
    replug(lab, host)
    assert fetch.wait() == 0, fetch.text
    assert stage.is_exact(fetch)
    assert server.wait() == 0, server.text


# --- Interfaces that vanish and come back ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "where"),
    [
        ("r1", ("--group", ADDRESS)),
        ("server", ("--group", ADDRESS)),
        pytest.param("r1", ("--group", ADDRESS_IPV6), marks=pytest.mark.slow),
        pytest.param("server", ("--group", ADDRESS_IPV6), marks=pytest.mark.slow),
        pytest.param("r1", ("--broadcast",), marks=pytest.mark.slow),
        pytest.param("server", ("--broadcast",), marks=pytest.mark.slow),
    ],
)
def test_a_group_goes_on_when_an_interface_was_made_anew(
    lab: Lab, host: str, where: tuple[str, ...], tmp_path: Path
) -> None:
    stage = Stage(lab, tmp_path, SIZE, *where, "-i", "eth0")
    (fetch,) = stage.receive()
    server = stage.serve(*SLOWLY, "--expect", "1")
    fetch.wait_fraction()
    replug(lab, host)
    assert fetch.wait() == 0, fetch.text
    assert stage.is_exact(fetch)
    assert server.wait() == 0, server.text
    changed = (fetch if host == "r1" else server).events("interface_changed")
    assert [event["is_usable"] for event in changed] == [False, True]
    assert changed[0]["reason"] == "The interface eth0 is gone."


def test_a_listener_whose_interface_was_made_anew_hears_the_next_object(lab: Lab, tmp_path: Path) -> None:
    stage = Stage(lab, tmp_path, 300_000, "--group", ADDRESS, "-i", "eth0")
    listener = Command(lab, "r1", tmp_path / "r1", "fetch", *stage.where, "--listen")
    listener.wait_event("listening")
    replug(lab, "r1")
    server = stage.serve(*SLOWLY, "--expect", "1")
    assert server.wait() == 0, server.text
    assert stage.is_exact(listener)


@pytest.mark.parametrize("way", [("--listen",), ("--wait",)])
def test_who_may_wait_waits_for_an_interface_that_is_not_there_yet(
    lab: Lab, way: tuple[str, ...], tmp_path: Path
) -> None:
    lab.unplug("r1")
    stage = Stage(lab, tmp_path, 300_000, "--group", ADDRESS, "-i", "eth0")
    fetch = Command(lab, "r1", tmp_path / "r1", "fetch", *stage.where, *way)
    fetch.wait_event("interface_changed")
    lab.plug("r1")
    fetch.wait_event("listening")
    server = stage.serve(*SLOWLY, "--expect", "1")
    assert server.wait() == 0, server.text
    assert stage.is_exact(fetch)


def test_without_that_an_interface_without_an_address_ends_it(lab: Lab, tmp_path: Path) -> None:
    lab.run("r1", ["ip", "address", "flush", "dev", "eth0"], check=True)
    fetch = Command(lab, "r1", tmp_path / "r1", "fetch", "--group", ADDRESS)
    assert fetch.wait() == 6, fetch.text
