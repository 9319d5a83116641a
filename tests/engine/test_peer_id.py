"""The same fetch on the same machine is the same peer; another place or name is another, and so is every clone."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fountain.config import FetchConfig
from fountain.engine.receiving import identity
from fountain.engine.receiving.identity import group_peer_id, single_peer_id
from fountain.net import Interface

TARGETS = [("192.0.2.1", 6330)]


@dataclass(frozen=True)
class Machine:
    """What of a machine goes into the id of its peers."""

    machine_id: str = "0123"
    address: str = "10.0.0.2"
    hardware: str = "02:00:00:00:00:01"
    boot_id: str = "started"
    network: str = "net:[1]"
    directory: str = "1:2"
    node: int = 1
    config: FetchConfig = field(default_factory=lambda: FetchConfig(host="192.0.2.1", out=Path("/srv/here")))


@pytest.fixture
def single(monkeypatch: pytest.MonkeyPatch) -> Single:
    return Single(monkeypatch)


class Single:
    """The peer ids that a machine gives itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, machine: Machine) -> bytes:
        self._pretend(machine)
        return single_peer_id(machine.config, TARGETS)

    def group(self, machine: Machine) -> bytes:
        self._pretend(machine)
        return group_peer_id(machine.config, "eth0")

    def _pretend(self, machine: Machine) -> None:
        texts = {
            "/etc/machine-id": machine.machine_id,
            "/sys/class/net/eth0/address": machine.hardware,
            "/proc/sys/kernel/random/boot_id": machine.boot_id,
        }
        interface = Interface("eth0", 2, (f"{machine.address}/24",))
        for name, value in (
            ("read_system_text", lambda path: texts.get(path, "")),
            ("read_link", lambda path: machine.network),
            ("directory_number", lambda path: machine.directory),
            ("route_source", lambda target: machine.address),
            ("list_interfaces", lambda: [interface]),
        ):
            self._monkeypatch.setattr(identity, name, value)
        self._monkeypatch.setattr(uuid, "getnode", lambda: machine.node)


def test_a_fetch_that_is_started_again_is_the_same_peer(single: Single) -> None:
    assert single(Machine()) == single(Machine())
    assert single(Machine()) == single(Machine(node=2)), "a machine id stands for the machine"


@pytest.mark.parametrize(
    "clone",
    [
        Machine(address="10.0.0.3"),
        Machine(hardware="02:00:00:00:00:02"),
        Machine(boot_id="started elsewhere"),
        Machine(network="net:[2]"),
        Machine(directory="1:3"),
    ],
)
def test_a_clone_is_another_peer_by_any_one_thing_that_was_not_copied(single: Single, clone: Machine) -> None:
    assert single(Machine()) != single(clone)


def test_another_machine_or_place_or_name_is_another_peer(single: Single) -> None:
    config = Machine().config
    for other in (
        Machine(machine_id="4567"),
        Machine(config=replace(config, out=Path("/srv/there"))),
        Machine(config=replace(config, name="other")),
    ):
        assert single(Machine()) != single(other)
        assert single.group(Machine()) != single.group(other)


def test_without_a_machine_id_a_hardware_address_does_but_none_that_is_drawn(single: Single) -> None:
    bare, drawn = Machine(machine_id=""), 1 << 40
    assert single(bare) != single(replace(bare, node=2))
    assert single(replace(bare, node=drawn | 1)) == single(replace(bare, node=drawn | 2))


def test_a_receiver_of_a_group_is_the_same_when_its_system_was_started_again(single: Single) -> None:
    assert single.group(Machine()) == single.group(Machine(boot_id="again", network="net:[9]"))
    assert single.group(Machine()) != single.group(Machine(hardware="02:00:00:00:00:02"))
