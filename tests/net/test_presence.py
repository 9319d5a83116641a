"""The interface of a group is looked after: it vanishes, comes back under another number, changes its address."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from fountain.limits import NS
from fountain.net import Group, Interface, interfaces
from fountain.net.presence import PRESENCE_INTERVAL_NS, Presence

WIRED = Interface("eth0", 2, ("192.0.2.5/24", "2001:db8::5/64"))
WIRELESS = Interface("wlan0", 3, ("192.0.2.77/24",))
GROUP = Group("239.255.63.30", 6332, WIRED)


class Machine:
    """What interfaces there are, and a presence that looks at them second after second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, wanted: str = "", group: Group = GROUP) -> None:
        self.present = [WIRED]
        monkeypatch.setattr(interfaces, "list_interfaces", lambda: list(self.present))
        self._now_ns = 0
        self.presence = Presence(group, wanted, now_ns=0)

    def look(self, *present: Interface) -> bool:
        self.present = list(present)
        self._now_ns += PRESENCE_INTERVAL_NS
        return self.presence.look(self._now_ns)

    def close(self) -> None:
        self.presence.close()


Make = Callable[..., Machine]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    made: list[Machine] = []

    def make_one(wanted: str = "", group: Group = GROUP) -> Machine:
        made.append(Machine(monkeypatch, wanted, group))
        return made[-1]

    yield make_one
    for machine in made:
        machine.close()


@pytest.fixture
def machine(make: Make) -> Machine:
    return make()


def test_what_stays_as_it_was_is_no_change(machine: Machine) -> None:
    assert not any(machine.look(WIRED) for _ in range(3))
    assert not machine.look(WIRED, WIRELESS), "another one that would fit is no reason to leave"


def test_an_interface_that_goes_is_a_change_and_its_return_is_another(machine: Machine) -> None:
    assert machine.look()
    assert machine.presence.fault == "The interface eth0 is gone."
    assert not machine.look()
    assert machine.look(replace(WIRED, index=9))
    assert machine.presence.fault == ""
    assert machine.presence.group.interface.index == 9


def test_one_that_comes_back_unseen_under_another_number_is_a_change(machine: Machine) -> None:
    assert machine.look(replace(WIRED, index=9))
    assert machine.presence.fault == ""


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (replace(WIRED, is_up=False), "The interface eth0 is down or not connected."),
        (replace(WIRED, addresses=("2001:db8::5/64",)), "The interface eth0 has no IPv4 address."),
    ],
)
def test_one_that_cannot_be_used_for_a_while_has_gone_and_come(machine: Machine, now: Interface, said: str) -> None:
    assert machine.look(now)
    assert machine.presence.fault == said
    assert machine.look(WIRED)
    assert machine.presence.fault == ""


def test_a_new_address_is_a_change_and_a_new_one_for_privacy_is_none(machine: Machine, make: Make) -> None:
    assert machine.look(replace(WIRED, addresses=("192.0.2.6/24", "2001:db8::5/64")))
    ipv6 = make(group=replace(GROUP, address="ff15::6330"))
    assert not ipv6.look(replace(WIRED, addresses=("192.0.2.5/24", "2001:db8::5/64", "2001:db8::abcd/64")))


def test_the_only_other_one_that_fits_takes_over_unless_a_person_has_chosen(make: Make) -> None:
    anyone = make()
    assert anyone.look(WIRELESS)
    assert (anyone.presence.fault, anyone.presence.group.interface) == ("", WIRELESS)
    chosen = make("eth0")
    assert chosen.look(WIRELESS)
    assert chosen.presence.fault == "The interface eth0 is gone."


def test_who_chose_an_address_follows_it(make: Make) -> None:
    machine = make("192.0.2.5")
    assert machine.look(replace(WIRED, addresses=("192.0.2.99/24",))), "it is the same interface all the same"
    assert machine.presence.fault == ""
    moved = replace(WIRELESS, addresses=("192.0.2.5/24",))
    assert machine.look(moved)
    assert machine.presence.group.interface is moved


def test_a_number_is_no_name_for_what_comes_next(make: Make) -> None:
    machine = make("2")
    assert machine.look(replace(WIRELESS, index=2))
    assert machine.presence.fault == "The interface eth0 is gone."


def test_what_only_looks_usable_is_tried_again_and_again(machine: Machine) -> None:
    machine.presence.doubt("It cannot be joined.")
    for _ in range(2):
        assert machine.look(WIRED)
        assert machine.presence.fault == ""
        machine.presence.doubt("It cannot be joined.")


def test_it_is_not_looked_at_all_the_time(machine: Machine) -> None:
    machine.present = []
    assert not machine.presence.look(NS // 1000)
