"""Which interface a group goes through: the only one that can carry it, or the one that a person names."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fountain.errors import TransportError, UsageError
from fountain.net import Interface, choose_interface, interfaces, list_interfaces

ROOT = Path(__file__).resolve().parents[2]
IPV4, IPV6 = socket.AF_INET, socket.AF_INET6

LOOPBACK = Interface("lo", 1, ("127.0.0.1/8", "::1/128"), is_multicast=False, is_broadcast=False, is_loopback=True)
WIRED = Interface("eth0", 2, ("192.168.1.5/24", "fe80::1/64"))
WIRELESS = Interface("wlan0", 3, ("10.0.0.7/8",))
BRIDGE = Interface("docker0", 4, ("172.17.0.1/16",), is_up=False)
TUNNEL = Interface("tun0", 5, ("10.8.0.2/32",), is_multicast=False, is_broadcast=False)
BARE = Interface("eth1", 6)


def pretend(monkeypatch: pytest.MonkeyPatch, *present: Interface) -> None:
    monkeypatch.setattr(interfaces, "list_interfaces", lambda: list(present))


@pytest.mark.parametrize("for_broadcast", [False, True])
def test_the_only_interface_that_can_is_chosen(monkeypatch: pytest.MonkeyPatch, for_broadcast: bool) -> None:
    pretend(monkeypatch, LOOPBACK, BRIDGE, TUNNEL, BARE, WIRED)
    assert choose_interface("", IPV4, for_broadcast=for_broadcast) is WIRED


def test_an_interface_without_an_address_of_the_family_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, LOOPBACK, WIRELESS, WIRED)
    assert choose_interface("", IPV6) is WIRED


def test_of_several_interfaces_a_person_must_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, LOOPBACK, WIRED, WIRELESS)
    with pytest.raises(UsageError, match=r"eth0 \(192\.168\.1\.5\), wlan0 \(10\.0\.0\.7\)") as caught:
        choose_interface("", IPV4)
    assert "`group.interface` eth0" in caught.value.hint


@pytest.mark.parametrize("wanted", ["wlan0", "3", "10.0.0.7"])
def test_an_interface_is_named_by_name_number_or_address(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    pretend(monkeypatch, LOOPBACK, WIRED, WIRELESS)
    assert choose_interface(wanted, IPV4) is WIRELESS


def test_of_interfaces_with_the_same_address_the_scope_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = Interface("eth2", 9, ("fe80::1/64",))
    pretend(monkeypatch, WIRED, twin)
    assert choose_interface("fe80::1%eth2", IPV6) is twin
    assert choose_interface("fe80::1%2", IPV6) is WIRED


@pytest.mark.parametrize("for_broadcast", [False, True])
def test_loopback_carries_groups_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, for_broadcast: bool) -> None:
    pretend(monkeypatch, LOOPBACK, WIRED)
    assert choose_interface("lo", IPV4, for_broadcast=for_broadcast) is LOOPBACK


def test_an_unknown_interface_is_answered_with_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, LOOPBACK, WIRED)
    with pytest.raises(UsageError, match="no interface 'eth7'") as caught:
        choose_interface("eth7", IPV4)
    assert "lo (127.0.0.1), eth0 (192.168.1.5)" in caught.value.hint


def test_a_machine_alone_reports_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, LOOPBACK, BRIDGE, TUNNEL, BARE)
    with pytest.raises(TransportError, match="No interface of this machine") as caught:
        choose_interface("", IPV4)
    assert "`group.interface` lo" in caught.value.hint


@pytest.mark.parametrize(
    ("wanted", "family", "for_broadcast", "said"),
    [
        ("docker0", IPV4, False, "docker0 is down or not connected"),
        ("eth1", IPV4, False, "eth1 has no IPv4 address"),
        ("wlan0", IPV6, False, "wlan0 has no IPv6 address"),
        ("tun0", IPV4, False, "tun0 cannot carry multicast"),
        ("tun0", IPV4, True, "tun0 cannot carry broadcast"),
    ],
)
def test_an_interface_that_cannot_carry_the_group_says_why(
    monkeypatch: pytest.MonkeyPatch, wanted: str, family: int, for_broadcast: bool, said: str
) -> None:
    pretend(monkeypatch, LOOPBACK, BRIDGE, TUNNEL, WIRELESS, BARE)
    with pytest.raises(TransportError, match=said) as caught:
        choose_interface(wanted, family, for_broadcast=for_broadcast)
    assert "`group.interface`" in caught.value.hint
    assert caught.value.field == "group.interface"


def test_a_system_that_reports_no_addresses_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interfaces.sys, "platform", "win32")
    known = {name: index for index, name in socket.if_nameindex()}
    assert {each.name: each.index for each in list_interfaces()} == known
    assert choose_interface(next(iter(known)), IPV6).addresses is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no getifaddrs")
def test_both_ways_to_ask_for_interfaces_report_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = list_interfaces()
    monkeypatch.setattr(interfaces.sys, "platform", "darwin")
    mine = list_interfaces()
    assert [each.name for each in mine if each.is_loopback] == [each.name for each in theirs if each.is_loopback]
    usable = {each.index: set(each.addresses or ()) for each in theirs}
    assert {each.index: set(each.addresses or ()) & usable[each.index] for each in mine} == usable


def test_a_sandbox_that_forbids_the_question_is_an_error_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid() -> list[object]:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(interfaces.netlink, "links", forbid)
    monkeypatch.setattr(interfaces.netlink, "link_addresses", forbid)
    monkeypatch.setattr(interfaces.sys, "platform", "linux")
    with pytest.raises(TransportError, match="does not report"):
        list_interfaces()


def test_the_broadcast_addresses_are_those_of_the_networks() -> None:
    assert Interface("a", 1, ("192.168.1.5/24", "10.1.2.3/31", "fe80::1/64")).broadcast_addresses == ("192.168.1.255",)


def listed_after(*commands: str) -> dict[str, dict[str, object]]:
    """The interfaces of a machine on which these commands set up the network."""
    probe = (
        "import json, dataclasses; from fountain.net import list_interfaces; "
        "print(json.dumps([dataclasses.asdict(each) for each in list_interfaces()]))"
    )
    script = "; ".join(["set -e", *commands, f"exec {sys.executable} -c '{probe}'"])
    done = subprocess.run(["unshare", "-n", "sh", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return {each["name"]: each for each in json.loads(done.stdout)}


@pytest.mark.root("ip", "unshare")
def test_what_the_kernel_says_of_its_interfaces_is_understood() -> None:
    found = listed_after(
        "ip link set lo up",
        "ip link add wire type veth peer name far",
        "ip addr add 10.9.8.7/24 dev wire",
        "ip addr add 2001:db8::7/64 dev wire nodad",
        "ip link set wire up",
        "ip link set far up",
        "ip link add lonely type veth peer name down",
        "ip addr add 10.1.1.1/16 dev lonely",
        "ip link set lonely up",
        "ip link set far multicast off",
    )
    assert found["lo"]["is_loopback"]
    assert found["lo"]["addresses"] == ["127.0.0.1/8", "::1/128"]
    assert {"10.9.8.7/24", "2001:db8::7/64"} <= set(map(str, found["wire"]["addresses"]))  # type: ignore[call-overload]
    wire = ("is_up", "is_multicast", "is_broadcast", "is_loopback")
    assert [found["wire"][flag] for flag in wire] == [True, True, True, False]
    assert not found["lonely"]["is_up"], "its other end is down"
    assert not found["far"]["is_multicast"]
